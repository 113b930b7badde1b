"""Bearer tokens: what is verified, what claims mean, and where the keys of an issuer come from."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import anyio
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from awaken import demo
from awaken.errors import Refusal
from awaken.net.fetch import Unreachable
from awaken.protocols.native.http.identity import Right
from awaken.server.app import create_app
from awaken.server.auth.errors import Unauthorized
from awaken.server.auth.jwks import PAUSE_SECONDS, STALE_SECONDS, Jwks, KeySet, from_file
from awaken.server.auth.tokens import Claims, Tokens, identity_from
from awaken.server.settings import Settings
from awaken.testing.clock import FakeClock
from tests.server.keys import API_KEYS, BOB, bearer, client_of
from tests.server.support import assert_refused, finished
from tests.server.test_auth_outbound import page, site

ISSUER: Final = "https://idp.example"
RSA_KEY: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY: Final = ec.generate_private_key(ec.SECP256R1())
CLAIMS: Final = Claims("tenant", "scope", "sub", None)
ALGORITHMS: Final = ("RS256", "ES256")


def public(key: Any, kid: str | None, **fields: str) -> dict[str, Any]:
    algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    jwk: dict[str, Any] = json.loads(algorithm.to_jwk(key.public_key()))
    return {**jwk, **fields, **({"kid": kid} if kid else {})}


def document(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


KEYS: Final = document(public(RSA_KEY, "r1"), public(EC_KEY, "e1"))


def token(
    key: Any = RSA_KEY, algorithm: str = "RS256", kid: str | None = "r1", **claims: Any
) -> str:
    """A good token, with `claims` changed; None leaves one out."""
    good = {
        "iss": ISSUER,
        "aud": "awaken",
        "sub": "carol",
        "exp": int(time.time()) + 3600,
        "tenant": "acme",
        "scope": "openid invoke approve",
    }
    whole = {name: value for name, value in {**good, **claims}.items() if value is not None}
    return jwt.encode(whole, key, algorithm, headers={"kid": kid} if kid else {})


class Source:
    """Where keys are loaded from, and how often."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)
        self.loads = 0

    async def load(self) -> bytes:
        self.loads += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def tokens(
    source: Source | None = None, *, clock: FakeClock | None = None, claims: Claims = CLAIMS
) -> Tokens:
    source = source or Source(KEYS)
    return Tokens(
        Jwks(source.load, ALGORITHMS, clock or FakeClock(), keep_seconds=300),
        issuer=ISSUER,
        audience="awaken",
        algorithms=ALGORITHMS,
        leeway_seconds=30,
        claims=claims,
    )


# --- verifying -----------------------------------------------------------------------------------


async def test_a_good_token_says_who_its_bearer_is() -> None:
    for good in (token(), token(EC_KEY, "ES256", "e1"), token(aud=["other", "awaken"])):
        identity = await tokens().identify(good)
        assert (identity.tenant, identity.actor) == ("acme", "carol")
        assert identity.rights == frozenset({Right.invoke, Right.approve})


NOW = int(time.time())


@pytest.mark.parametrize(
    "bad",
    [
        token(OTHER_KEY),
        token(iss="https://evil.example"),
        token(iss=None),
        token(aud="other"),
        token(aud=None),
        token(exp=None),
        token(nbf=NOW + 3600),
        token(iat=NOW + 3600),
        token(exp="soon"),
        token(kid="unknown"),
        token(kid="e1"),
        token(kid=None, key=OTHER_KEY),
        token(tenant=None),
        token(tenant=["a", "b"]),
        token(tenant="two words"),
        token(tenant=""),
        token(sub=None),
        token(sub="system"),
        token(sub="line\nbreak"),
        token(sub="x" * 129),
        token(key="", algorithm="none"),
        token(key="x" * 64, algorithm="HS256"),
        token(algorithm="PS256"),
        token(algorithm="RS512"),
        token()[:-2],
        token() + "x",
        token().rpartition(".")[0] + ".",
        "a.b.c",
        "..",
        "eyJhbGciOiJSUzI1NiJ9..",
        "\xff.\xff.\xff",
    ],
)
async def test_a_token_that_is_not_good_is_refused(bad: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        await tokens().identify(bad)
    assert caught.value.code == "invalid_credentials"
    assert bad not in caught.value.message


async def test_a_public_key_is_no_shared_secret() -> None:
    """The oldest trick: sign with HMAC, and the public key as its secret."""
    claims = token().split(".")[1]
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"r1"}').rstrip(b"=").decode()
    secret = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    mac = hmac.digest(secret, f"{head}.{claims}".encode(), "sha256")
    signature = base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
    with pytest.raises(Unauthorized):
        await tokens().identify(f"{head}.{claims}.{signature}")


async def test_the_clocks_may_differ_a_little() -> None:
    assert (await tokens().identify(token(exp=int(time.time()) - 5))).actor == "carol"
    assert (await tokens().identify(token(nbf=NOW + 10))).actor == "carol"
    with pytest.raises(Unauthorized) as caught:
        await tokens().identify(token(exp=NOW - 300))
    assert caught.value.code == "token_expired"


# --- claims --------------------------------------------------------------------------------------


def test_claims_have_the_names_they_were_given() -> None:
    names = Claims("https://awaken.example/org", "realm_access.roles", "email", None)
    claims = {
        "https://awaken.example/org": "acme",
        "realm_access": {"roles": ["admin", "offline", 5]},
        "email": "carol@acme.example",
        "sub": "42",
    }
    identity = identity_from(claims, names, ISSUER)
    assert (identity.tenant, identity.actor) == ("acme", "carol@acme.example")
    assert identity.rights == {Right.admin}
    assert "42" in identity.credential


def test_a_fixed_tenant_is_for_tokens_that_name_none() -> None:
    names = CLAIMS._replace(fixed_tenant="solo")
    assert identity_from({"sub": "x"}, names, ISSUER).tenant == "solo"
    assert identity_from({"sub": "x", "tenant": "acme"}, names, ISSUER).tenant == "acme"
    with pytest.raises(Unauthorized):
        identity_from({"sub": "x", "tenant": 5}, names, ISSUER)


@pytest.mark.parametrize("scope", [None, "", "openid", [], {"invoke": True}, 5, ["INVOKE"]])
def test_scopes_that_are_none_of_ours_give_no_right(scope: Any) -> None:
    assert (
        identity_from({"sub": "x", "tenant": "a", "scope": scope}, CLAIMS, ISSUER).rights == set()
    )


# --- the issuer's keys ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": []}',
        b'{"keys": ["x", 5, {}]}',
        document({"kty": "oct", "k": "c2VjcmV0", "kid": "r1"}),
        document(public(RSA_KEY, "r1", use="enc")),
        document(public(RSA_KEY, "r1", alg="PS256")),
        document({**public(RSA_KEY, "r1"), "n": "?"}),
    ],
)
def test_a_document_without_a_usable_key_is_refused(bad: bytes) -> None:
    with pytest.raises(ValueError, match=r"expected an object|no key for|Expecting value"):
        KeySet(bad, ALGORITHMS)


def test_a_key_without_a_name_is_meant_when_it_is_the_only_one() -> None:
    alone = KeySet(document(public(RSA_KEY, None), public(EC_KEY, "e1")), ALGORITHMS)
    assert alone.find(None, "RS256") is not None
    assert alone.find("r1", "RS256") is None
    several = KeySet(document(public(RSA_KEY, "a"), public(OTHER_KEY, "b")), ALGORITHMS)
    assert several.find(None, "RS256") is None


async def test_keys_are_kept_and_fetched_again_when_they_are_old() -> None:
    clock, source = FakeClock(), Source(KEYS)
    verifier = tokens(source, clock=clock)
    for _ in range(3):
        await verifier.identify(token())
    assert source.loads == 1
    clock.advance(301)
    await verifier.identify(token())
    assert source.loads == 2


async def test_new_keys_are_fetched_when_an_unknown_one_is_named_but_not_each_time() -> None:
    rotated = document(public(OTHER_KEY, "r2"))
    clock, source = FakeClock(), Source(KEYS, rotated)
    verifier = tokens(source, clock=clock)
    await verifier.identify(token())
    for _ in range(5):
        with pytest.raises(Unauthorized):
            await verifier.identify(token(OTHER_KEY, kid="r2"))
    assert source.loads == 1
    clock.advance(PAUSE_SECONDS + 1)
    assert (await verifier.identify(token(OTHER_KEY, kid="r2"))).actor == "carol"
    assert source.loads == 2
    with pytest.raises(Unauthorized):
        await verifier.identify(token())


async def test_an_issuer_that_is_away_for_a_while_is_outwaited() -> None:
    clock, source = FakeClock(), Source(KEYS, Unreachable("away"))
    verifier = tokens(source, clock=clock)
    await verifier.identify(token())
    clock.advance(400)
    assert (await verifier.identify(token())).actor == "carol", "the old keys still do"
    clock.advance(STALE_SECONDS)
    with pytest.raises(Refusal) as caught:
        await verifier.identify(token())
    assert (caught.value.code, caught.value.status) == ("issuer_unavailable", 503)


@pytest.mark.parametrize("trouble", [Unreachable("away"), b"nonsense"])
async def test_without_keys_nobody_is_let_in(trouble: bytes | Exception) -> None:
    source = Source(trouble)
    with pytest.raises(Refusal) as caught:
        await tokens(source).identify(token())
    assert caught.value.retry_after_seconds
    assert "away" not in caught.value.message


async def test_many_that_come_at_once_fetch_once() -> None:
    source, found = Source(KEYS), []
    verifier = tokens(source)

    async def identify() -> None:
        found.append(await verifier.identify(token()))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(identify)
    assert (len(found), source.loads) == (20, 1)


async def test_a_file_that_is_not_there_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        await from_file(tmp_path / "none.json")()


# --- over HTTP -----------------------------------------------------------------------------------

Make = Callable[..., Any]


@pytest.fixture
async def issuer() -> AsyncIterator[str]:
    """An issuer of this machine; where its keys are."""
    async with site(lambda _: page(KEYS)) as port:
        yield f"http://127.0.0.1:{port}/jwks"


def jwt_settings(**more: Any) -> Settings:
    given = {"jwt_issuer": ISSUER, "jwt_audience": "awaken", "store": "sqlite://:memory:"}
    return Settings.model_validate({**given, "drain_seconds": 0, **more})


async def test_a_token_opens_what_its_scopes_open(issuer: str) -> None:
    settings = jwt_settings(
        jwt_jwks_url=issuer, outbound_allow="127.0.0.1", api_keys=API_KEYS, key_concurrent_runs=5
    )
    app = create_app(demo.make_agents(), settings)
    async with app.lifespan(), client_of(app, token()) as carol, client_of(app) as nobody:
        run = await finished(carol, "echo", "hi")
        assert (await carol.get(f"/v1/runs/{run['run_id']}/stream")).status_code == 200
        assert_refused(await carol.get("/metrics"), 403, "insufficient_scope")
        old = await nobody.get("/v1/runs", headers=bearer(token(exp=NOW - 300)))
        assert_refused(old, 401, "token_expired")
        assert 'error="invalid_token"' in old.headers["www-authenticate"]
        foreign = await nobody.get(f"/v1/runs/{run['run_id']}", headers=bearer(BOB))
        assert_refused(foreign, 404, "run_not_found")
        other = bearer(token(tenant="b"))
        theirs = await nobody.get(f"/v1/runs/{run['run_id']}", headers=other)
        assert_refused(theirs, 404, "run_not_found")


async def test_an_issuer_inside_must_be_allowed(issuer: str) -> None:
    app = create_app(demo.make_agents(), jwt_settings(jwt_jwks_url=issuer))
    async with app.lifespan(), client_of(app, token()) as carol:
        response = await carol.get("/v1/runs")
    assert_refused(response, 503, "issuer_unavailable")
    assert response.headers["retry-after"] == "5"


async def test_keys_may_be_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(KEYS)
    app = create_app(demo.make_agents(), jwt_settings(jwt_jwks_file=path, jwt_tenant="solo"))
    async with app.lifespan(), client_of(app, token(tenant=None)) as carol:
        assert (await carol.get("/v1/runs")).status_code == 200
