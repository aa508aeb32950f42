"""The console's script: page settings, sign-in gate, flat navigation, then the page."""

from pathlib import Path

import streamlit as st

from console import confirmation, frame, oidc, session, zoom
from console.admin import own_password, secret

STATIC = Path(__file__).parent / "static"
VIEWS = Path(__file__).parent / "views"

st.set_page_config(page_title="TrajOps", page_icon=str(STATIC / "icon.svg"), layout="wide")
st.logo(str(STATIC / "logo.svg"), icon_image=str(STATIC / "icon.svg"), size="large")

PAGES = [
    st.Page(
        VIEWS / "overview.py",
        title="Overview",
        icon=":material/monitoring:",
        default=True,
        help="Health, live accuracy, traffic, recent changes and background jobs in one glance.",
    ),
    st.Page(
        VIEWS / "experiments.py",
        title="Experiments",
        icon=":material/compare_arrows:",
        help="Training runs: which are the best, how they differ; compare, and register from here.",
    ),
    st.Page(
        VIEWS / "models.py",
        title="Models",
        icon=":material/model_training:",
        help="Champion, challenger and all versions; stage, canary, promote and roll back.",
    ),
    st.Page(
        VIEWS / "ab_tests.py",
        title="A/B tests",
        icon=":material/science:",
        help="What is being compared, whether the data are well, what they say; launch, ramp, pause, stop.",
    ),
    st.Page(
        VIEWS / "live_predict.py",
        title="Live predict",
        icon=":material/route:",
        help="Watch predictions of one agent as truth arrives, play recorded moments, compare versions, or draw a track.",
    ),
    st.Page(
        VIEWS / "scene_map.py",
        title="Scene map",
        icon=":material/map:",
        help="All agents of a scene with their newest predictions, live or at a recorded moment.",
    ),
    st.Page(
        VIEWS / "performance.py",
        title="Performance",
        icon=":material/speed:",
        help="Live figures against validation, taken apart; calibration of the intervals; errors estimated before truth.",
    ),
    st.Page(
        VIEWS / "drift.py",
        title="Drift",
        icon=":material/query_stats:",
        help="Whether the traffic still looks like the reference, column by column.",
    ),
    st.Page(
        VIEWS / "alerts.py",
        title="Alerts",
        icon=":material/notifications:",
        help="What is firing, who looks after it, who was told; acknowledge, assign, silence and resolve.",
    ),
    st.Page(
        VIEWS / "services.py",
        title="Services",
        icon=":material/dns:",
        help="Whether every part works, what is left of the error budget, and what runs in the background.",
    ),
    st.Page(
        VIEWS / "jobs.py",
        title="Jobs",
        icon=":material/work_history:",
        help="Forecast, train or measure on tracks of your own or on recorded traffic; follow it, and fetch the result.",
    ),
    st.Page(
        VIEWS / "audit.py",
        title="Audit",
        icon=":material/receipt_long:",
        help="Who changed what, when and why; what was different before and after.",
    ),
    st.Page(
        VIEWS / "admin.py",
        title="Admin",
        icon=":material/admin_panel_settings:",
        help="Users and API keys: who may come in, and what they may do.",
    ),
]
RANGED = {"Overview", "Models", "Performance", "Drift", "Alerts"}

if oidc.is_asked_for():
    st.navigation(PAGES, position="hidden")
    oidc.sign_in()
elif session.token() is None:
    st.navigation(PAGES, position="hidden")
    frame.gate()
else:
    page = st.navigation(PAGES, expanded=True)
    me = session.user()
    frame.account(me)
    own_password.offer(me)
    frame.top_bar(me, is_ranged=page.title in RANGED)
    session.show_flash()
    if frame.is_left(page):
        confirmation.discard()
        secret.forget()
    own_password.show_pending()
    with st.sidebar:
        zoom.keep()
    frame.run(page)
