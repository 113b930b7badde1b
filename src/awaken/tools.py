"""`@tool`: a Python function becomes a tool, its schema read from signature and docstring.

@tool
async def get_weather(city: str) -> dict:
    \"\"\"Current weather for a city.

    Args:
        city: name of the city, in any language.
    \"\"\"
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, overload

import docstring_parser
import pydantic
import pydantic_core
from pydantic.fields import FieldInfo

from awaken.domain.agent import Approval, ToolSpec
from awaken.loop.threads import ToolThreads
from awaken.ports.tool import ToolArgumentsError, ToolContext

F = TypeVar("F", bound=Callable[..., Any])

THREADS: Final = ToolThreads()
"""Where sync tools run, in this process."""


MAX_EXPIRY_SECONDS: Final = 366 * 24 * 3600
MAX_QUORUM: Final = 20


class ToolError(Exception):
    """A function cannot be a tool; the text names the place."""


class FunctionTool:
    """A function as a tool; calling it calls the function."""

    def __init__(self, function: Callable[..., Any], spec: ToolSpec, schema: _Signature) -> None:
        self.spec = spec
        self._function = function
        self._schema = schema
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> Any:
        """Validate, then run: async functions here, others in a thread that a stop abandons."""
        given = self._schema.validated(arguments)
        if self._schema.context_name is not None:
            given[self._schema.context_name] = context
        bound = functools.partial(self._function, **given)
        if inspect.iscoroutinefunction(self._function):
            answer = await bound()
        else:
            answer = await THREADS.run(self.spec.name, bound)
        return pydantic_core.to_jsonable_python(answer)


def threads_used() -> int:
    """In how many threads sync tools run now, those that were given up among them."""
    return THREADS.used


class _Signature:
    """What a function takes, as a pydantic model without its context argument."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._where = _place(function)
        self.doc = docstring_parser.parse(inspect.getdoc(function) or "")
        hints = self._hints(function)
        self.context_name: str | None = None
        fields: dict[str, Any] = {}
        for name, parameter in inspect.signature(function).parameters.items():
            self._check(parameter)
            if hints.get(name) is ToolContext:
                self.context_name = name
            else:
                fields[name] = self._field(parameter, hints)
        self._names = tuple(fields)
        self._model = self._make_model(function.__name__, fields)

    def _hints(self, function: Callable[..., Any]) -> dict[str, Any]:
        try:
            return typing.get_type_hints(function, include_extras=True)
        except NameError as error:
            raise ToolError(f"{self._where}: an annotation cannot be resolved: {error}") from error

    def _check(self, parameter: inspect.Parameter) -> None:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ToolError(
                f"{self._where}: *{parameter.name} cannot be described to a model; "
                "name each argument"
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise ToolError(
                f"{self._where}: {parameter.name!r} is positional-only; tools are called by name"
            )

    def _field(self, parameter: inspect.Parameter, hints: dict[str, Any]) -> Any:
        name = parameter.name
        if name not in hints:
            raise ToolError(f"{self._where}: {name!r} has no annotation, so it has no schema")
        default = ... if parameter.default is parameter.empty else parameter.default
        described = {param.arg_name: param.description for param in self.doc.params}
        if isinstance(default, FieldInfo):
            return (hints[name], default)
        return (hints[name], pydantic.Field(default, description=described.get(name)))

    def _make_model(self, name: str, fields: dict[str, Any]) -> type[pydantic.BaseModel]:
        try:
            model: type[pydantic.BaseModel] = pydantic.create_model(
                name, __config__=pydantic.ConfigDict(extra="forbid"), **fields
            )
            model.model_json_schema()
        except (pydantic.PydanticSchemaGenerationError, pydantic.PydanticUserError) as error:
            text = str(error).splitlines()[0]
            raise ToolError(f"{self._where}: an argument has no JSON schema: {text}") from error
        return model

    def parameters(self) -> dict[str, Any]:
        """The JSON schema of the arguments, without titles that only repeat names."""
        schema = self._model.model_json_schema()
        schema.pop("title", None)
        for prop in schema.get("properties", {}).values():
            prop.pop("title", None)
        return schema

    def validated(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments as the function's types; raises ToolArgumentsError in words for the model."""
        try:
            found = self._model.model_validate(dict(arguments))
        except pydantic.ValidationError as error:
            raise ToolArgumentsError(_in_words(error)) from error
        return {name: getattr(found, name) for name in self._names}


def _in_words(error: pydantic.ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc']) or 'arguments'}: {item['msg']}"
        for item in error.errors(include_url=False)
    )


def _place(function: Callable[..., Any]) -> str:
    code = inspect.unwrap(function).__code__
    return f"tool {function.__name__!r} ({code.co_filename}:{code.co_firstlineno})"


@overload
def tool(function: F, /) -> FunctionTool: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    approval: bool | Approval = False,
    approvers: Sequence[str] = (),
    on_crash: str = "fail",
    timeout_seconds: float | None = None,
) -> Callable[[F], FunctionTool]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    approval: bool | Approval = False,
    approvers: Sequence[str] = (),
    on_crash: str = "fail",
    timeout_seconds: float | None = None,
) -> Any:
    """Make a function a tool.

    Args:
        function: the function, when the decorator is used without parentheses.
        name: what the model calls it; the function's name by default.
        description: what the model reads; the docstring without its sections by default.
        approval: suspend the call until somebody allows it. `Approval(quorum=2, expires_seconds=60,
            on_expiry="cancel")` says how many must, how long they have, and what happens then.
        approvers: who may decide about it, by the names of their keys or tokens; anybody who may
            decide at all, without one.
        on_crash: what to do with a call that had begun when its worker died, and left no result:
            `retry` it (only if doing it twice is harmless), `ask` whether it happened, or `fail`
            it.
        timeout_seconds: how long a call may take; the model is told when it took longer.

    Raises:
        ToolError: the signature cannot be described; the text names file, line and argument.
    """
    if function is None:
        return functools.partial(
            _make,
            name=name,
            description=description,
            approval=approval,
            approvers=approvers,
            on_crash=on_crash,
            timeout_seconds=timeout_seconds,
        )
    return _make(function)


def _make(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    description: str | None = None,
    approval: bool | Approval = False,
    approvers: Sequence[str] = (),
    on_crash: str = "fail",
    timeout_seconds: float | None = None,
) -> FunctionTool:
    if on_crash not in ("retry", "ask", "fail"):
        raise ToolError(f"{_place(function)}: on_crash is retry, ask or fail, not {on_crash!r}")
    if isinstance(approvers, str):
        raise ToolError(f"{_place(function)}: approvers is a list of names, not one text")
    if approvers and not approval and on_crash != "ask":
        raise ToolError(
            f"{_place(function)}: approvers decide nothing without approval=True or on_crash='ask'"
        )
    policy = approval if isinstance(approval, Approval) else Approval()
    wrong = _wrong_policy(policy, approvers)
    if wrong is not None:
        raise ToolError(f"{_place(function)}: {wrong}")
    signature = _Signature(function)
    spec = ToolSpec(
        name=name or function.__name__,
        description=description if description is not None else _description(signature.doc),
        parameters=signature.parameters(),
        approval=bool(approval),
        approvers=tuple(approvers),
        approval_policy=policy,
        on_crash=on_crash,
        timeout_seconds=timeout_seconds,
    )
    return FunctionTool(function, spec, signature)


def _wrong_policy(policy: Approval, approvers: Sequence[str]) -> str | None:
    """What of an approval policy cannot be kept; None when all can."""
    seconds = policy.expires_seconds
    if policy.on_expiry not in ("deny", "cancel", "leave"):
        return f"on_expiry is deny, cancel or leave, not {policy.on_expiry!r}"
    if seconds is not None and policy.on_expiry == "leave":
        return "with on_expiry='leave' a ticket does not expire, so expires_seconds says nothing"
    if seconds is not None and not 0 < seconds <= MAX_EXPIRY_SECONDS:
        return f"expires_seconds is more than 0 and at most {MAX_EXPIRY_SECONDS}, not {seconds!r}"
    if not 1 <= policy.quorum <= MAX_QUORUM:
        return f"quorum is 1 to {MAX_QUORUM}, not {policy.quorum!r}"
    if approvers and len(set(approvers)) < policy.quorum:
        return f"a quorum of {policy.quorum} needs as many approvers"
    return None


def _description(doc: docstring_parser.Docstring) -> str:
    return "\n\n".join(part for part in (doc.short_description, doc.long_description) if part)


class FrontendTool:
    """A tool that the client executes: the call suspends, and the client's answer is its result.

    Args:
        name: what the model calls it.
        description: what the model reads.
        parameters: the JSON schema of its arguments.
        response_schema: the JSON schema the client's answer must fit; anything fits without one.
    """

    def __init__(
        self,
        name: str,
        *,
        description: str = "",
        parameters: dict[str, Any] | None = None,
        response_schema: dict[str, Any] | None = None,
    ) -> None:
        self.spec = ToolSpec(
            name=name,
            description=description,
            parameters=parameters or {"type": "object", "properties": {}},
            frontend=True,
            response_schema=response_schema,
        )

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> Any:
        """Never called: the loop suspends instead."""
        raise AssertionError("a front-end tool is executed by the client")
