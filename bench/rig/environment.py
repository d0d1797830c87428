"""Settings as a process is told of them."""

from muster.settings import Settings


def as_environment(settings: Settings) -> dict[str, str]:
    """What `muster` has to find in its environment to read these settings; the home is the caller's."""
    account, token = settings.google_service_account, settings.hubspot_token
    webhook_secret = settings.hubspot_webhook_secret
    return {
        "PORT": str(settings.port),
        "PUBLIC_URL": settings.public_url,
        "SECRET_KEY": settings.secret_key.reveal(),
        "DATABASE_URL": settings.database_url.reveal(),
        "REDIS_URL": settings.redis_url.reveal(),
        "ALLOWED_DOMAINS": ",".join(settings.allowed_domains),
        "ADMIN_EMAILS": ",".join(settings.admin_emails),
        "GOOGLE_CLIENT_ID": settings.google_client_id,
        "GOOGLE_CLIENT_SECRET": settings.google_client_secret.reveal(),
        "GOOGLE_ISSUER": settings.google_issuer,
        "GOOGLE_DIRECTORY_URL": settings.google_directory_url,
        "GOOGLE_SERVICE_ACCOUNT": account.reveal() if account else "",
        "GOOGLE_ADMIN_EMAIL": settings.google_admin_email,
        "HUBSPOT_TOKEN": token.reveal() if token else "",
        "HUBSPOT_WEBHOOK_SECRET": webhook_secret.reveal() if webhook_secret else "",
        "HUBSPOT_URL": settings.hubspot_url,
        "SENTRY_DSN": settings.sentry_dsn.reveal() if settings.sentry_dsn else "",
        "ALERT_URLS": ",".join(one.reveal() for one in settings.alert_urls),
        "HEARTBEAT_URL": settings.heartbeat_url.reveal() if settings.heartbeat_url else "",
    }
