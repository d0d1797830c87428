"""A proxy that spoils what passes, to break rows of the checklist with; README.md beside it shows how."""

import argparse
import re
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import urlsplit

Headers = list[tuple[str, str]]
Answer = tuple[int, Headers, bytes]


class Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    options: ClassVar[argparse.Namespace]
    kept: ClassVar[dict[str, Answer]] = {}

    def pass_on(self) -> None:
        status, headers, body = self.spoilt(self.asked())
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_HEAD = pass_on  # noqa: N815  the names http.server looks for

    def asked(self) -> Answer:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        sent = {name: value for name, value in self.headers.items() if name.lower() not in self.options.drop}
        upstream = HTTPConnection(urlsplit(self.options.to).netloc, timeout=20)
        upstream.request(self.command, self.path, body or None, sent)
        answer = upstream.getresponse()
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() != "content-length"]
        return answer.status, kept, answer.read()

    def spoilt(self, answer: Answer) -> Answer:
        options = self.options
        page = urlsplit(self.path).path
        status, headers, body = self.kept.setdefault(page, answer) if options.again else answer
        headers = [(name, value) for name, value in headers if name.lower() not in options.strip]
        if options.no_challenge:
            headers = [(name, re.sub(r"&code_challenge=[^&]*", "", value)) for name, value in headers]
        if options.let_in and status == 403:
            status, headers = 303, [*headers, ("set-cookie", "muster_session=planted; Path=/")]
        return options.status or status, headers, body

    def log_message(self, *_: object) -> None:  # type: ignore[explicit-override]  # the standard library alone
        """What passes is in the portal's own log."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Pass requests on to the portal, and spoil them.")
    parser.add_argument("--port", type=int, default=8090, help="where to listen, 8090")
    parser.add_argument("--to", default="http://localhost:8000", help="the portal, http://localhost:8000")
    parser.add_argument("--drop", nargs="+", default=[], help="headers of requests that do not get through")
    parser.add_argument("--strip", nargs="+", default=[], help="headers of answers that do not")
    parser.add_argument("--status", type=int, help="answer this, whatever the portal said")
    parser.add_argument("--again", action="store_true", help="keep pages, and give the first of each to all")
    parser.add_argument("--let-in", action="store_true", help="turn refusals into a session")
    parser.add_argument("--no-challenge", action="store_true", help="take PKCE off the way to Google")
    Proxy.options = parser.parse_args()
    ThreadingHTTPServer(("127.0.0.1", Proxy.options.port), Proxy).serve_forever()


if __name__ == "__main__":
    main()
