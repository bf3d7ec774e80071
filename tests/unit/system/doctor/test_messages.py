"""Each fault on the way of messages is named."""

from __future__ import annotations

import datetime
import socket
import ssl
import subprocess
import threading

import pytest

from acoupi import data
from acoupi.components import SqliteMessageStore
from acoupi.system.doctor.certificates import validity

OPENSSL = ["openssl", "req", "-x509", "-newkey", "ec", "-nodes"]
OPENSSL += ["-pkeyopt", "ec_paramgen_curve:prime256v1"]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Make a certificate of its own authority that holds for some days."""
    directory = tmp_path_factory.mktemp("certificates")

    def make(name, *, days=30, host="localhost"):
        cert, key = directory / f"{name}.pem", directory / f"{name}.key"
        if not cert.exists():
            command = [*OPENSSL, "-keyout", key, "-out", cert, "-subj", f"/CN={host}"]
            command += ["-addext", f"subjectAltName=DNS:{host}", "-days", str(days)]
            subprocess.run(command, check=True, capture_output=True)
            key.chmod(0o600)
        return cert, key

    return make


@pytest.fixture
def listening():
    """A port on which something takes connections."""
    with socket.create_server(("localhost", 0)) as server:
        yield server.getsockname()[1]


def use(sensor, **mqtt):
    # Certificates are made meanwhile.
    sensor.fake.now = datetime.datetime.now(datetime.UTC)
    sensor.change("messaging", "mqtt", to={"host": "localhost", "port": 1, **mqtt})


@pytest.fixture
def outbox(sensor):
    store = SqliteMessageStore(sensor.path("messaging", "messages_db"), ["mqtt"])
    yield store
    store.database.close()


def message(sensor, *, hours_ago=0.0):
    moment = sensor.fake.now - datetime.timedelta(hours=hours_ago)
    return data.Message(content="{}", created_on=moment)


def test_messages_that_have_just_been_stored_are_well(sensor, outbox):
    outbox.store_message(message(sensor))
    assert sensor.find() == {}


def test_messages_that_wait_for_hours(sensor, outbox):
    outbox.store_message(message(sensor, hours_ago=20))
    found = sensor.find()
    assert set(found) == {"messages-late"}
    assert "1 to mqtt" in found["messages-late"].evidence


def respond(outbox, state, answer):
    with outbox.database.transaction() as connection:
        connection.execute(
            "UPDATE delivery SET state = ?, tried_on = '2026-01-01', attempts = 3, "
            "status = 'failed', answer = ?",
            (state, answer),
        )


def test_messages_that_a_destination_does_not_take(sensor, outbox):
    outbox.store_message(message(sensor))
    respond(outbox, "waiting", "401 Unauthorized")
    found = sensor.find()
    assert set(found) == {"messages-not-taken"}
    assert "401 Unauthorized" in found["messages-not-taken"].evidence


def test_messages_that_were_refused_for_good(sensor, outbox):
    outbox.store_message(message(sensor))
    respond(outbox, "parked", "413 Too large")
    found = sensor.find()
    assert set(found) == {"messages-refused"}
    assert "413 Too large" in found["messages-refused"].evidence


def test_a_destination_that_takes_connections_is_well(sensor, listening):
    use(sensor, port=listening)
    assert sensor.find() == {}


def test_a_destination_that_nobody_answers_at(sensor):
    use(sensor)
    found = sensor.find()
    assert set(found) == {"destination-unreachable"}
    assert "localhost:1" in found["destination-unreachable"].evidence


def test_a_destination_whose_name_is_not_known(sensor):
    use(sensor, host="no-such-host.invalid")
    assert set(sensor.find()) == {"destination-unknown"}


def test_an_http_server_that_nobody_answers_at(sensor):
    sensor.change("messaging", "http", to={"base_url": "http://localhost:1/x"})
    assert set(sensor.find()) == {"destination-unreachable"}


def test_a_socket_is_not_connected_to_as_a_host(sensor, tmp_path):
    use(sensor, host=str(tmp_path / "mqtt.sock"), transport="unix")
    assert sensor.find() == {}


FILES = {
    "secret-missing": lambda path, cert: {"password_file": str(path)},
    "certificate-missing": lambda path, cert: {"tls_ca_file": str(path)},
}


@pytest.mark.parametrize("code", FILES)
def test_files_that_are_not_there(sensor, tmp_path, listening, code):
    use(sensor, port=listening, **FILES[code](tmp_path / "gone", None))
    found = sensor.find()
    assert set(found) == {code}
    assert str(tmp_path / "gone") in found[code].evidence


def test_a_file_with_a_secret_that_others_can_read(sensor, tmp_path, listening):
    secret = tmp_path / "password"
    secret.write_text("canary")
    secret.chmod(0o644)
    use(sensor, port=listening, password_file=str(secret))
    found = sensor.find()
    assert set(found) == {"secrets-exposed"}
    assert "canary" not in str(found)


def test_the_name_of_a_credential_is_no_file(sensor, listening):
    use(sensor, port=listening, password_file="mqtt-password")
    assert sensor.find() == {}


def test_a_certificate_that_is_none(sensor, tmp_path, listening):
    path = tmp_path / "ca.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    use(sensor, port=listening, tls_ca_file=str(path))
    assert set(sensor.find()) == {"certificate-damaged"}


@pytest.mark.parametrize(
    ("days_on", "code"),
    [
        (-3, "certificate-not-yet"),
        (1, None),
        (25, "certificate-ends-soon"),
        (31, "certificate-expired"),
    ],
)
def test_a_certificate_that_does_not_hold_now(
    sensor, certificate, listening, days_on, code
):
    cert, _ = certificate("sensor")
    use(sensor, port=listening, tls_cert_file=str(cert))
    sensor.fake.now += datetime.timedelta(days=days_on)
    found = set(sensor.find()) - {"clock-went-back"}
    assert found == ({code} if code else set())


def test_the_times_of_a_certificate_are_those_that_openssl_says(certificate):
    for days in (30, 20_000):
        cert, _ = certificate(f"for {days}", days=days)
        said = subprocess.run(
            ["openssl", "x509", "-noout", "-dates", "-in", cert],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.splitlines()
        expected = [
            datetime.datetime.strptime(
                line.partition("=")[2], "%b %d %H:%M:%S %Y GMT"
            ).replace(tzinfo=datetime.UTC)
            for line in said
        ]
        assert list(validity(cert)) == expected


@pytest.fixture
def encrypted(certificate):
    """A server that encrypts, with a certificate for a name."""
    servers = []

    def start(host):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        cert, key = certificate(f"server {host}", host=host)
        context.load_cert_chain(cert, key)
        server = socket.create_server(("localhost", 0))
        servers.append(server)

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    try:
                        context.wrap_socket(connection, server_side=True).close()
                    except OSError:
                        continue

        threading.Thread(target=serve, daemon=True).start()
        return server.getsockname()[1], cert

    yield start
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def test_an_encrypted_destination_that_is_trusted_is_well(sensor, encrypted):
    port, cert = encrypted("localhost")
    use(sensor, port=port, use_tls=True, tls_ca_file=str(cert))
    assert sensor.find() == {}


@pytest.mark.parametrize("fault", ["unknown authority", "another name"])
def test_an_encrypted_destination_that_is_not_trusted(sensor, encrypted, fault):
    port, cert = encrypted("localhost" if fault == "unknown authority" else "other.org")
    trusted = {} if fault == "unknown authority" else {"tls_ca_file": str(cert)}
    use(sensor, port=port, use_tls=True, **trusted)
    found = sensor.find()
    assert set(found) == {"destination-not-trusted"}
    assert "tls_ca_file" in found["destination-not-trusted"].remedy
