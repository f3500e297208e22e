"""Plain requests, one after the other. Arguments: address, mark of the socket, seconds to wait for an answer."""

import http.client
import json
import socket
import sys

ADDRESS, MARK, TIMEOUT_S = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])


class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        self.sock.settimeout(self.timeout)
        if MARK:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        self.sock.connect((self.host, self.port))


def ask(method, path, headers):
    connection = Connection(f"[{ADDRESS}]" if ":" in ADDRESS else ADDRESS, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except TimeoutError:
        return 0, "nothing"
    finally:
        connection.close()


status, token = ask("PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
if status == 200:
    status, token = ask("GET", "/latest/meta-data/instance-id", {"X-aws-ec2-metadata-token": token})
print(json.dumps([status, token]))
