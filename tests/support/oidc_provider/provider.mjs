// A certified OpenID provider for tests. It is told everything by lines of JSON on its standard input, each the whole
// configuration (`Node` in process.py says what is in it), and answers each with a line: {"port": …} or {"error": …}.
import { X509Certificate } from "node:crypto";
import http from "node:http";
import readline from "node:readline";

let config;
let provider;
let callback;

// Its clock may be set apart from that of the machine.
const Real = Date;
globalThis.Date = class extends Real {
  constructor(...given) {
    super(...(given.length ? given : [Date.now()]));
  }
  static now() {
    return Real.now() + (config?.clock ?? 0) * 1000;
  }
};

// Its notices are for those who publish a provider.
console.info = console.warn = () => {};
const { Provider } = await import("oidc-provider");

const kept = new Map(); // outlives a change of the configuration, as a database does

class Kept {
  constructor(model) {
    this.model = model;
  }
  #key(id) {
    return `${this.model}:${id}`;
  }
  async upsert(id, payload) {
    kept.set(this.#key(id), payload);
  }
  async find(id) {
    return kept.get(this.#key(id));
  }
  async findByUid(uid) {
    return [...kept].find(([key, payload]) => key.startsWith(`${this.model}:`) && payload.uid === uid)?.[1];
  }
  async destroy(id) {
    kept.delete(this.#key(id));
  }
  async consume(id) {
    kept.get(this.#key(id)).consumed = Math.floor(Date.now() / 1000);
  }
  async revokeByGrantId(grant) {
    for (const [key, payload] of kept) if (payload.grantId === grant) kept.delete(key);
  }
}

async function grant(ctx) {
  const { client, params, session, result, resourceServers } = ctx.oidc;
  const known = result?.consent?.grantId || session.grantIdFor(client.clientId);
  const given =
    (known && (await provider.Grant.find(known))) ||
    new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
  given.addOIDCScope(params.scope);
  for (const resource of Object.keys(resourceServers)) given.addResourceScope(resource, params.scope);
  await given.save();
  return given;
}

function settings() {
  const names = new Set(Object.values(config.accounts).flatMap(Object.keys));
  const ofEmail = ["email", "email_verified"];
  return {
    adapter: Kept,
    clients: config.clients,
    jwks: config.jwks,
    cookies: { keys: ["a secret of the provider's cookies"] },
    claims: { openid: ["sub"], email: ofEmail, profile: [...names].filter((name) => !ofEmail.includes(name)) },
    scopes: ["openid", "offline_access", ...config.scopes],
    conformIdTokenClaims: !config.id_token_claims,
    clockTolerance: 0,
    ttl: { Interaction: 600, Session: 86400, Grant: 86400, RefreshToken: 86400, ...config.ttl },
    findAccount: (ctx, sub) =>
      config.accounts[sub] && { accountId: sub, claims: () => ({ sub, ...config.accounts[sub] }) },
    loadExistingGrant: grant,
    issueRefreshToken: (ctx, client, source) =>
      client.grantTypeAllowed("refresh_token") &&
      (config.refresh_tokens === "always" || source.scopes.has("offline_access")),
    rotateRefreshToken: () => config.rotate,
    pkce: { required: () => true },
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    clientBasedCORS: () => false,
    fetch: (url, { dispatcher, ...options }) => fetch(url, options), // the one left out refuses loopback
    renderError: (ctx, out) => {
      ctx.body = out;
    },
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      clientCredentials: { enabled: true },
      dPoP: { enabled: true, nonceSecret: Buffer.alloc(32, 7), requireNonce: () => config.dpop_nonce },
      introspection: { enabled: true, allowedPolicy: (ctx, client) => client.clientAuthMethod !== "none" },
      jwtIntrospection: { enabled: true },
      mTLS: {
        enabled: true,
        certificateBoundAccessTokens: true,
        selfSignedTlsClientAuth: true,
        getCertificate: (ctx) => {
          const pem = ctx.get("x-client-certificate");
          return pem ? new X509Certificate(decodeURIComponent(pem)) : undefined;
        },
      },
      pushedAuthorizationRequests: { enabled: true, requirePushedAuthorizationRequests: config.require_par },
      resourceIndicators: {
        enabled: true,
        defaultResource: (ctx, client, one) => one ?? (config.resource || undefined),
        useGrantedResource: () => true,
        getResourceServerInfo: (ctx, resource) => ({
          scope: ["openid", "offline_access", "email", "profile", ...config.scopes].join(" "),
          audience: resource,
          accessTokenFormat: "jwt",
          accessTokenTTL: config.ttl.AccessToken,
        }),
      },
      revocation: { enabled: true },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: (ctx, form) => {
          const send = config.login ? "<script>document.querySelector('button').click()</script>" : "";
          const button = '<button form="op.logoutForm" name="logout" value="yes">Log out</button>';
          ctx.body = `<!DOCTYPE html><title>Log out?</title>${form}${button}${send}`;
        },
        postLogoutSuccessSource: (ctx) => {
          ctx.body = "<!DOCTYPE html><title>Logged out</title>";
        },
      },
    },
  };
}

const form = (names) => `<!DOCTYPE html><title>Log in</title>
<form method="post">
  <label>Name <select name="account">${names.map((name) => `<option>${name}</option>`)}</select></label>
  <label>Password <input name="password" type="password"></label>
  <button name="go" value="in">Log in</button> <button name="go" value="away">Cancel</button>
</form>`;

// Logs in without a click if it is told as whom, or shows a form.
async function interaction(request, response) {
  const { prompt, params } = await provider.interactionDetails(request, response);
  const finish = (result) => provider.interactionFinished(request, response, result);
  if (config.refuse) return finish({ error: config.refuse, error_description: "as it was told" });
  if (prompt.name !== "login") return finish({ consent: {} });
  if (request.method === "POST") {
    let body = "";
    for await (const piece of request) body += piece;
    const typed = new URLSearchParams(body);
    if (typed.get("go") === "away") return finish({ error: "access_denied", error_description: "cancelled" });
    if (config.accounts[typed.get("account")]) return finish({ login: { accountId: typed.get("account") } });
  }
  const hinted = config.accounts[params.login_hint] && params.login_hint;
  if (config.login && request.method === "GET") return finish({ login: { accountId: hinted || config.login } });
  response.setHeader("Content-Type", "text/html; charset=utf-8");
  return response.end(form(Object.keys(config.accounts)));
}

const server = http.createServer((request, response) => {
  if (!request.url.startsWith("/interaction/")) return callback(request, response);
  return interaction(request, response).catch((error) => {
    response.statusCode = 400;
    response.end(`${error.name}: ${error.message}`);
  });
});
server.keepAliveTimeout = 0; // the front makes a connection for each request
await new Promise((done) => server.listen(0, "127.0.0.1", done));

for await (const line of readline.createInterface({ input: process.stdin })) {
  const before = config;
  try {
    config = JSON.parse(line);
    const changed = new Provider(config.issuer, settings());
    changed.proxy = true;
    for (const client of config.clients) await changed.Client.find(client.client_id); // says what is wrong with it
    provider = changed;
    callback = provider.callback();
    console.log(JSON.stringify({ port: server.address().port }));
  } catch (error) {
    config = before;
    console.log(JSON.stringify({ error: error.error_description ?? error.message }));
  }
}
process.exit(0); // whoever started it is gone
