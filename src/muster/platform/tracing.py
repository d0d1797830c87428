"""Traces, where an OTLP address is set: a span for each request, job, query and call of somebody else.

https://opentelemetry.io/docs/specs/otel/. The packages are an extra, imported where the address is set and
nowhere else; without it a span is nothing at all.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Literal, Protocol, Self

from muster import __version__
from muster.errors import SettingsError
from muster.platform.redaction import Redaction

Kind = Literal["server", "consumer", "client"]
Value = str | int | float
EXPORTED_WITHIN = 5.0
"""Seconds; what a collector does not take by then is lost to it."""


class Tell(Protocol):
    """Says more of a span while it lasts."""

    def __call__(self, name: str | None = None, **attributes: Value) -> None: ...


def span(name: str, kind: Kind, *, continuing: str = "", **attributes: Value) -> AbstractContextManager[Tell]:
    """A piece of work, within whatever it is part of, or `continuing` what `carried` gave somewhere else."""
    tracing = _here.get()
    return tracing.span(name, kind, continuing, attributes) if tracing else _NOTHING


def carried() -> str:
    """What a job has to be told so that its span continues the one at hand, "" where there is none."""
    tracing = _here.get()
    return tracing.carried() if tracing else ""


class Tracing:
    """Raises SettingsError where the packages are missing."""

    def __init__(self, endpoint: str, *, redaction: Redaction, environment: str, process: str) -> None:
        try:
            from muster.platform import otlp  # noqa: PLC0415  an extra
        except ImportError as error:
            raise SettingsError(
                "OTEL_EXPORTER_OTLP_ENDPOINT is set and what it needs is not installed; "
                "expected the extra `otel`: uv sync --extra otel"
            ) from error
        self._otlp = otlp
        self._redaction = redaction
        self._provider = otlp.provider(
            endpoint,
            about={
                "service.name": process,
                "service.version": __version__,
                "deployment.environment.name": environment,
            },
            within=EXPORTED_WITHIN,
        )
        self._tracer = self._provider.get_tracer("muster")
        self._token: Token[Tracing | None] | None = None

    def __enter__(self) -> Self:
        self._token = _here.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Sends what is left, though not for long."""
        if self._token:
            _here.reset(self._token)
        self._provider.shutdown()

    @contextmanager
    def span(self, name: str, kind: Kind, continuing: str, attributes: dict[str, Value]) -> Iterator[Tell]:
        with self._tracer.start_as_current_span(
            name,
            context=self._otlp.continued(continuing) if continuing else None,
            kind=self._otlp.KINDS[kind],
            attributes=self._clean(attributes),
            # Its words may be anybody's; the log has them, cleaned.
            record_exception=False,
            set_status_on_exception=False,
        ) as begun:

            def tell(name: str | None = None, **more: Value) -> None:
                if name:
                    begun.update_name(name)
                begun.set_attributes(self._clean(more))

            try:
                yield tell
            except BaseException as error:
                begun.set_attribute("error.type", type(error).__name__)
                begun.set_status(self._otlp.FAILED)
                raise

    def carried(self) -> str:
        return self._otlp.carried()

    def _clean(self, attributes: dict[str, Value]) -> dict[str, Value]:
        """In the words of the conventions, whose names have dots: `http__route` is `http.route`."""
        return {name.replace("__", "."): self._redaction.value(value) for name, value in attributes.items()}


def _ignore(name: str | None = None, **attributes: Value) -> None:
    """Nobody listens."""


_NOTHING: AbstractContextManager[Tell] = nullcontext(_ignore)
_here: ContextVar[Tracing | None] = ContextVar("tracing", default=None)
