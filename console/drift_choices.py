"""What operators have chosen on the Drift page, in words. No Streamlit here."""

from console.wording import count
from trajops.contracts.drift import ReferenceChoice

CHOICES = {"backfill": "Recorded history", "training": "The champion's training data", "range": "A range of traffic"}
_NAMED = 3


def reference_words(choice: ReferenceChoice) -> str:
    """What traffic is compared with, and what of it is left out: of some scenes, or of all."""
    words = CHOICES[choice.kind].lower()
    if not choice.without:
        return words
    parts = f"{count(len(choice.without))} part{'s' if len(choice.without) > 1 else ''} of it"
    scenes = sorted({part.scene for part in choice.without if part.scene is not None})
    if not scenes:
        return f"{words}, without {parts}"
    more = f" and {count(len(scenes) - _NAMED)} more scenes" if len(scenes) > _NAMED else ""
    where = "" if all(part.scene is not None for part in choice.without) else "all scenes, "
    return f"{words}, without {parts} ({where}{', '.join(scenes[:_NAMED])}{more})"
