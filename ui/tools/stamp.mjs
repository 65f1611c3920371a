/** Says on the client's first line what it was generated from; `tools/openapi.py --check` compares. */
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";

const path = "src/api/schema.d.ts";
const sha256 = createHash("sha256").update(readFileSync("openapi.json")).digest("hex");
writeFileSync(path, `// openapi.json sha256 ${sha256}\n${readFileSync(path, "utf8")}`);
