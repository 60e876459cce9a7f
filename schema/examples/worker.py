"""A pull worker: python3 worker.py QUEUE COMMAND [ARG]... runs COMMAND for each attempt, with the payload on its stdin."""
import http.client, json, os, subprocess, sys, threading, time, urllib.error, urllib.request

SERVER = os.environ.get("DWELL_SERVER", "http://127.0.0.1:7070")
TOKEN = os.environ.get("DWELL_TOKEN")  # Of the scope operate, where the server asks for tokens.
QUEUE, COMMAND = sys.argv[1], sys.argv[2:]
NAME, LEASE = f"{os.uname().nodename}-{os.getpid()}", 60


class Refused(Exception):
    """dwell says no, and asking again would not change that."""


def ask(path, body, token=TOKEN):
    """What dwell answers. Tries again while dwell cannot be reached, or asks to come back later."""
    request = urllib.request.Request(SERVER + path, json.dumps(body).encode())
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    while True:
        try:
            with urllib.request.urlopen(request, timeout=LEASE) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if "Retry-After" not in error.headers:
                raise Refused(error.read().decode()) from error
        except (OSError, http.client.HTTPException) as error:
            print(f"{SERVER}: {error}; trying again", file=sys.stderr)
        time.sleep(1)


def carry_out(attempt):
    """Does the work of one attempt and reports how it ended, with signs of life in between."""

    def tell(**report):
        path = f"/v1/records/{attempt['id']}/reports"
        return ask(path, {"attempt": attempt["attempt"], **report}, attempt["token"])

    child = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    over = threading.Event()

    def stay_alive():
        while not over.wait(LEASE / 3):
            try:
                tell(type="heartbeat")
            except Refused:  # Cancelled, or presumed lost: it is ours no more.
                return child.kill()

    threading.Thread(target=stay_alive, daemon=True).start()
    out, _ = child.communicate(json.dumps(attempt["payload"]).encode())
    over.set()
    if child.returncode == 0:
        tell(type="succeeded", result=out.decode(errors="replace"))
    else:
        tell(type="failed", code=f"exit_{child.returncode}", message=out.decode(errors="replace"))


while True:
    claim = {"worker": NAME, "queue": QUEUE, "wait": "20s", "lease": LEASE}
    for attempt in ask("/v1/claims", claim)["attempts"]:
        try:
            carry_out(attempt)
        except Refused as refused:
            print(f"{attempt['id']}: {refused}", file=sys.stderr)
