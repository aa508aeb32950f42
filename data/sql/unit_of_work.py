"""All repositories over one connection: what they write together is committed together."""

from sqlalchemy import Connection

from data.sql.repositories.accounts import SqlApiKeys, SqlUsers
from data.sql.repositories.alerts import SqlAlerts, SqlSilences
from data.sql.repositories.answers import SqlAnswers
from data.sql.repositories.audit import SqlAuditLog
from data.sql.repositories.calibrations import SqlCalibrations
from data.sql.repositories.drift_checks import SqlDriftChecks
from data.sql.repositories.drift_settings import SqlDriftSettings
from data.sql.repositories.experiments import SqlExperiments
from data.sql.repositories.jobs import SqlJobs
from data.sql.repositories.leases import SqlLeases
from data.sql.repositories.notifications import SqlNotifications
from data.sql.repositories.performance_checks import SqlPerformanceChecks
from data.sql.repositories.probes import SqlProbes
from data.sql.repositories.records import SqlIdempotency
from data.sql.repositories.releases import SqlDeployments, SqlModelVersions, SqlRoutes
from data.sql.repositories.rollouts import SqlRollouts
from data.sql.repositories.tasks import SqlTasks
from data.sql.repositories.validations import SqlValidations


class SqlUnitOfWork:
    """Implements `trajops.ports.UnitOfWork`; `connection` is for adapters with tables of their own."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.deployments = SqlDeployments(connection)
        self.routes = SqlRoutes(connection)
        self.experiments = SqlExperiments(connection)
        self.rollouts = SqlRollouts(connection)
        self.audit = SqlAuditLog(connection)
        self.model_versions = SqlModelVersions(connection)
        self.validations = SqlValidations(connection)
        self.tasks = SqlTasks(connection)
        self.users = SqlUsers(connection)
        self.api_keys = SqlApiKeys(connection)
        self.idempotency = SqlIdempotency(connection)
        self.jobs = SqlJobs(connection)
        self.leases = SqlLeases(connection)
        self.drift_checks = SqlDriftChecks(connection)
        self.answers = SqlAnswers(connection)
        self.probes = SqlProbes(connection)
        self.alerts = SqlAlerts(connection)
        self.silences = SqlSilences(connection)
        self.notifications = SqlNotifications(connection)
        self.performance_checks = SqlPerformanceChecks(connection)
        self.calibrations = SqlCalibrations(connection)
        self.drift_settings = SqlDriftSettings(connection)
