"""The loopback hub's other half: repositories made, files sent (small ones in the commit, large ones by LFS).

Mixed into the handler of `hub_server`.
"""

import base64
import hashlib
import json
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".gguf")


class Uploads:
    """POST and PUT of a hub."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = unquote(urlsplit(self.path).path)
        hub = self.server.hub
        hub.requests.append(("POST", path, dict(self.headers)))
        fault = hub.fault(path)
        if fault.isdigit():
            return self.error(int(fault), "Fault")
        if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self.error(403, "Forbidden")
        if path == "/api/validate-yaml":
            return self.json({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path.endswith(".git/info/lfs/objects/batch"):
            return self.batch(json.loads(body))
        name, verb = "/".join(path.split("/")[3:5]), path.split("/")[5]
        if name not in hub.repositories:
            return self.error(404, "RepoNotFound")
        if verb == "preupload":
            return self.modes(json.loads(body))
        return self.commit(name, body)

    def do_PUT(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        digest = urlsplit(self.path).path.rsplit("/", maxsplit=1)[-1]
        hub = self.server.hub
        hub.requests.append(("PUT", self.path, dict(self.headers)))
        if hashlib.sha256(data).hexdigest() != digest:
            return self.error(400, "BadDigest")
        hub.large[digest] = data
        return self.json({})

    def create(self, wanted):
        hub = self.server.hub
        name = "/".join(filter(None, (wanted.get("organization"), wanted["name"])))
        if name in hub.repositories:
            return self.json({"url": f"{hub.url}/{name}"}, 409)
        hub.repositories[name] = {"main": {}}
        hub.private[name] = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        return self.json({"url": f"{hub.url}/{name}"})

    def modes(self, wanted):
        return self.json(
            {
                "files": [
                    {
                        "path": f["path"],
                        "uploadMode": "lfs" if f["path"].endswith(LARGE) else "regular",
                        "shouldIgnore": False,
                    }
                    for f in wanted["files"]
                ]
            }
        )

    def batch(self, wanted):
        hub = self.server.hub
        return self.json(
            {
                "transfer": "basic",
                "objects": [
                    {
                        **o,
                        "actions": {"upload": {"href": f"{hub.url}/lfs/{o['oid']}", "header": {}}},
                    }
                    for o in wanted["objects"]
                ],
            }
        )

    def commit(self, name, body):
        hub = self.server.hub
        files = dict(hub.repositories[name]["main"])
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                hub.messages.append(value["summary"])
            elif item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                files[value["path"]] = hub.large[value["oid"]]
        oid = hub.add(name, files)
        return self.json({"commitUrl": f"{hub.url}/{name}/commit/{oid}", "commitOid": oid})
