// Hand over a job to actas from a program that has only the broker: Node 20, nothing else. See docs/submitting.md.
//
//   . secrets/roles/app-blog.env && . secrets/roles/producer.env
//   node examples/submit.mjs alice GRANT_ID CONNECTION 'Hello from Node'
//
// The app's AppRole signs at Vault; the broker gets the signed job. Neither MongoDB nor a line of Python is involved.

import { randomUUID } from "node:crypto";
import net from "node:net";
import tls from "node:tls";

const { ACTAS_APP: app, ACTAS_VAULT_ADDR: vault, ACTAS_BROKER_URL: broker } = process.env;
const base64 = (text) => Buffer.from(text).toString("base64");
const base64url = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

// --- the signed job: a JWT (RFC 7519) ---

async function ask(path, { token, body } = {}) {
  const reply = await fetch(`${vault}/v1/${path}`, {
    method: body ? "POST" : "GET",
    headers: token ? { "X-Vault-Token": token } : {},
    body: body && JSON.stringify(body),
  });
  if (!reply.ok) throw new Error(`Vault answers ${reply.status} to ${path}`);
  return reply.json();
}

async function sign(claims) {
  const { ACTAS_VAULT_ROLE_ID: role_id, ACTAS_VAULT_SECRET_ID: secret_id } = process.env;
  const token = (await ask("auth/approle/login", { body: { role_id, secret_id } })).auth.client_token;
  const key = `actas-app-${app}`;
  const key_version = (await ask(`transit/keys/${key}`, { token })).data.latest_version;
  const input = `${base64url({ alg: "Ed25519", typ: "job+jwt", kid: `${key}:v${key_version}` })}.${base64url(claims)}`;
  const body = { input: base64(input), key_version, marshaling_algorithm: "jws" };
  const { signature } = (await ask(`transit/sign/${key}`, { token, body })).data;
  return `${input}.${signature.split(":").at(-1)}`; // vault:v1:<base64url>
}

// --- the message: Celery's protocol 2, as kombu puts it into Redis ---

function message(jws) {
  const id = randomUUID();
  return {
    body: base64(JSON.stringify([[jws], {}, { callbacks: null, errbacks: null, chain: null, chord: null }])),
    "content-type": "application/json",
    "content-encoding": "utf-8",
    headers: { lang: "js", task: "actas.submit", id, root_id: id, argsrepr: "(a signed job)", kwargsrepr: "{}" },
    properties: {
      correlation_id: id,
      delivery_mode: 2,
      delivery_tag: randomUUID(),
      delivery_info: { exchange: "", routing_key: "actas.submit" },
      body_encoding: "base64",
      priority: 0,
    },
  };
}

// --- Redis: three commands, one reply each ---

function redis(url, commands) {
  const { protocol, hostname, port, username, password, pathname } = new URL(url);
  const said = [["AUTH", username || "default", password].map(decodeURIComponent), ["SELECT", pathname.slice(1) || "0"]];
  const lines = [...said, ...commands].map(
    (words) => `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`,
  );
  return new Promise((resolve, reject) => {
    const open = protocol === "rediss:" ? tls.connect : net.connect;
    const socket = open({ host: hostname, port: Number(port || 6379), servername: hostname });
    let heard = "";
    socket.setTimeout(10_000, () => socket.destroy(new Error("Redis does not answer")));
    socket.on("error", reject);
    socket.on("close", () => reject(new Error("Redis closed the connection")));
    socket.on("data", (data) => {
      heard += data;
      const replies = heard.split("\r\n").slice(0, -1);
      const refusal = replies.find((reply) => reply.startsWith("-"));
      if (refusal) socket.destroy(new Error(`Redis: ${refusal.slice(1)}`));
      if (replies.length === lines.length) socket.end(), resolve();
    });
    socket.write(lines.join(""));
  });
}

const [user, grant, connection, text] = process.argv.slice(2);
const now = Math.floor(Date.now() / 1000);
const claims = {
  iss: app,
  sub: user,
  aud: "actas",
  jti: randomUUID(), // the job's id; keep it: sent twice, it is one job
  iat: now,
  nbf: now, // when it shall run
  exp: now + 24 * 3600, // and not after
  rev: 0,
  grant,
  connection: Number(connection),
  provider: "x",
  action: "x.post",
  payload: { text },
};
const jws = await sign(claims);
await redis(broker, [["LPUSH", "actas:actas.submit", JSON.stringify(message(jws))]]);
console.log(claims.jti);
