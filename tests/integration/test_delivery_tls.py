"""Encrypted delivery: only to whom the certificate says, and to nobody else."""

from __future__ import annotations

import shutil
import ssl
import subprocess

import pytest

from acoupi import data
from acoupi.components import HTTPConfig, HTTPMessenger, MQTTConfig, MQTTMessenger
from acoupi.errors import AcoupiError
from acoupi.testing import HTTPSink, MosquittoBroker

SUCCESS, FAILED, ERROR, TIMEOUT = data.ResponseStatus


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def make_authority(directory, name):
    cert, key = directory / f"{name}.pem", directory / f"{name}.key"
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-days", "2", "-subj", f"/CN={name}"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        *("-keyout", key, "-out", cert),
    )
    return cert, key


def make_certificate(directory, authority, name, host, days=2):
    ca_cert, ca_key = authority
    cert, key = directory / f"{name}.pem", directory / f"{name}.key"
    request, extensions = directory / f"{name}.csr", directory / f"{name}.ext"
    extensions.write_text(f"subjectAltName=DNS:{host}\n")
    openssl(
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-subj", f"/CN={host}", "-keyout", key, "-out", request),
    )
    openssl(
        *("x509", "-req", "-in", request, "-days", days, "-CA", ca_cert),
        *("-CAkey", ca_key, "-CAcreateserial", "-extfile", extensions, "-out", cert),
    )
    return cert, key


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    directory = tmp_path_factory.mktemp("certificates")
    ours = make_authority(directory, "ours")
    foreign = make_authority(directory, "foreign")
    return {
        "ca": ours[0],
        "foreign_ca": foreign[0],
        "server": make_certificate(directory, ours, "server", "localhost"),
        "elsewhere": make_certificate(directory, ours, "elsewhere", "example.org"),
        "expired": make_certificate(directory, ours, "expired", "localhost", -1),
        "expired_client": make_certificate(directory, ours, "old", "sensor", -1),
        "client": make_certificate(directory, ours, "client", "sensor"),
        "foreign_client": make_certificate(directory, foreign, "stranger", "sensor"),
    }


@pytest.fixture(params=["mqtt", "http"])
def connect(request, certificates, tmp_path):
    """Return a function that starts a server and gives a messenger to it."""
    if request.param == "mqtt" and MosquittoBroker.path() is None:
        pytest.skip("mosquitto is not installed")
    started, made = [], []

    def connect_mqtt(server, *, ask_client, **settings):
        cert, key = certificates[server]
        lines = [f"certfile {cert}", f"keyfile {key}"]
        if ask_client:
            lines += [f"cafile {certificates['ca']}", "require_certificate true"]
        started.append(MosquittoBroker(tmp_path, settings=lines))
        started[-1].start()
        config = MQTTConfig(
            host="localhost",
            port=started[-1].port,
            use_tls=True,
            timeout=3,
            **settings,
        )
        return MQTTMessenger.from_config(config)

    def connect_http(server, *, ask_client, **settings):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificates[server])
        if ask_client:
            context.load_verify_locations(certificates["ca"])
            context.verify_mode = ssl.CERT_REQUIRED
        started.append(HTTPSink(tls=context))
        started[-1].start()
        config = HTTPConfig(base_url=started[-1].url, timeout=3, **settings)
        return HTTPMessenger.from_config(config)

    chosen = connect_mqtt if request.param == "mqtt" else connect_http

    def connect(server, *, ask_client=False, **settings):
        made.append(chosen(server, ask_client=ask_client, **settings))
        return made[-1]

    yield connect
    for messenger in made:
        messenger.close()
    for server in started:
        server.stop()


def send(messenger):
    return messenger.send_message(data.Message(content="a"))


def test_the_right_authority_is_trusted(connect, certificates):
    messenger = connect("server", tls_ca_file=certificates["ca"])

    messenger.check()
    assert send(messenger).status is SUCCESS


@pytest.mark.parametrize("authority", ["foreign_ca", None])
def test_a_server_signed_by_somebody_else_gets_nothing(
    connect, certificates, authority
):
    messenger = connect(
        "server", tls_ca_file=authority and certificates[authority], password="secret"
    )

    response = send(messenger)

    assert response.status is ERROR
    assert "set tls_ca_file" in response.content
    with pytest.raises(AcoupiError, match="tls_ca_file"):
        messenger.check()


def test_a_certificate_for_another_host_is_refused(connect, certificates):
    messenger = connect("elsewhere", tls_ca_file=certificates["ca"])

    response = send(messenger)

    assert response.status is ERROR
    assert "localhost" in response.content


def test_a_certificate_that_has_expired_is_refused(connect, certificates):
    messenger = connect("expired", tls_ca_file=certificates["ca"], password="secret")

    response = send(messenger)

    assert response.status is ERROR
    assert "expired" in response.content
    with pytest.raises(AcoupiError, match="expired"):
        messenger.check()


def test_a_client_certificate_is_shown_when_asked_for(connect, certificates):
    cert, key = certificates["client"]
    messenger = connect(
        "server",
        ask_client=True,
        tls_ca_file=certificates["ca"],
        tls_cert_file=cert,
        tls_key_file=key,
    )

    assert send(messenger).status is SUCCESS


@pytest.mark.parametrize("client", ["foreign_client", "expired_client", None])
def test_without_the_right_client_certificate_nothing_counts_as_sent(
    connect, certificates, client
):
    cert, key = certificates[client] if client else (None, None)
    messenger = connect(
        "server",
        ask_client=True,
        tls_ca_file=certificates["ca"],
        tls_cert_file=cert,
        tls_key_file=key,
    )

    assert send(messenger).status is not SUCCESS


@pytest.mark.parametrize("key", ["tls_ca_file", "tls_cert_file"])
@pytest.mark.parametrize("content", [None, "", "not a certificate"])
def test_unusable_files_are_named(connect, tmp_path, key, content):
    file = tmp_path / "broken.pem"
    if content is not None:
        file.write_text(content)

    response = send(connect("server", **{key: file}))

    assert response.status is ERROR
    assert key in response.content
    assert str(file) in response.content
