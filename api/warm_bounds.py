"""How much one process keeps warm: so many versions, so many bytes of them, and none that nobody asks for."""

from collections.abc import Mapping
from dataclasses import dataclass

from trajops.deployments.model_ref import ModelRef


@dataclass(frozen=True, slots=True)
class WarmBounds:
    """Bounds on the versions that are warm but not routed; a routed one is never let go.

    Attributes:
        versions: most versions, routed ones included.
        size_bytes: most bytes of their artefacts, routed ones included.
        idle_s: a version that nobody has asked for so long is let go even where there is room, seconds.
    """

    versions: int
    size_bytes: int
    idle_s: float

    def let_go(self, sizes: Mapping[ModelRef, int], asked_ns: Mapping[ModelRef, int], now_ns: int) -> dict[ModelRef, str]:
        """The versions to unload and why, the least recently asked for first.

        Args:
            sizes: bytes of each warm version's artefact.
            asked_ns: when each version that is not routed was last asked for.
            now_ns: the same clock.
        """
        count, total_bytes = len(sizes), sum(sizes.values())
        gone: dict[ModelRef, str] = {}
        for ref, asked in sorted(asked_ns.items(), key=lambda item: item[1]):
            if count > self.versions:
                gone[ref] = f"{self.versions} versions are kept warm"
            elif total_bytes > self.size_bytes:
                gone[ref] = f"{self.size_bytes} bytes of artefacts are kept warm"
            elif now_ns - asked > self.idle_s * 1e9:
                gone[ref] = f"nobody has asked for it for {self.idle_s:g} s"
            else:
                break
            count, total_bytes = count - 1, total_bytes - sizes[ref]
        return gone
