// An authorisation server that nobody of this project wrote (npm `oidc-provider`), with an API behind it, for the tests.
//
//   node server.mjs MODULES REDIRECT_URI ACCESS_TOKEN_SECONDS
//
// MODULES is the directory in which `npm ci` was run with the package.json beside this file. Prints one line of JSON when it listens,
// `{"issuer"}`, and then one a thing that happened, `{"event", ...}`: `grant` (a token was given), `revoked`, `grant_error`, `call`.
import { createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, redirectUri, accessSeconds] = process.argv.slice(2);
const library = join(modules, 'node_modules/oidc-provider/lib/index.js');
// It warns of what is fit for tests only, which this is.
console.warn = () => {};
const { default: Provider } = await import(pathToFileURL(library));

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
// Tokens are told by their prints, so that a log of a test never holds one.
const print = (token) => createHash('sha256').update(String(token)).digest('hex').slice(0, 12);

let handler = (_, response) => response.writeHead(503).end();
const server = createServer((request, response) => handler(request, response));
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'web',
      client_secret: 'web secret/with+signs',
      client_name: 'Tenure',
      redirect_uris: [redirectUri],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'client_secret_basic',
    },
    {
      client_id: 'robot',
      client_secret: 'robot-secret',
      redirect_uris: [],
      grant_types: ['client_credentials'],
      response_types: [],
      token_endpoint_auth_method: 'client_secret_post',
    },
  ],
  pkce: { required: () => true },
  scopes: ['openid', 'offline_access', 'api:read'],
  features: {
    devInteractions: { enabled: true },
    clientCredentials: { enabled: true },
    revocation: { enabled: true },
  },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  rotateRefreshToken: true,
  ttl: { AccessToken: Number(accessSeconds), ClientCredentials: Number(accessSeconds) },
  cookies: { keys: [randomBytes(24).toString('hex')] },
});

provider.on('grant.success', ({ oidc, body }) => say({
  event: 'grant',
  type: oidc.params.grant_type,
  client: oidc.client.clientId,
  pkce: Boolean(oidc.params.code_verifier),
  access: print(body.access_token),
  refresh: body.refresh_token && print(body.refresh_token),
}));
provider.on('grant.error', ({ oidc }, error) => say({
  event: 'grant_error',
  type: oidc.params?.grant_type,
  error: error.message,
  detail: error.error_detail,
}));
provider.on('grant.revoked', () => say({ event: 'revoked' }));

// What the token is for. 401 as RFC 6750 has it.
provider.use(async (ctx, next) => {
  if (ctx.path !== '/api/me') return next();
  const token = (ctx.get('authorization').match(/^Bearer (.+)$/) ?? [])[1];
  const known = token
    && (await provider.AccessToken.find(token) ?? await provider.ClientCredentials.find(token));
  say({ event: 'call', access: token && print(token), accepted: Boolean(known) });
  if (!known) {
    ctx.status = 401;
    ctx.set('www-authenticate', 'Bearer error="invalid_token"');
    ctx.body = { error: 'invalid_token' };
    return undefined;
  }
  ctx.body = { client_id: known.clientId, account: known.accountId ?? null, scope: known.scope ?? '', access: print(token) };
  return undefined;
});

// The tests' lever: ends an access token before its time, by its print.
const lever = async (ctx, next) => {
  if (ctx.path !== '/test/end_access_tokens') return next();
  for (const token of issued.splice(0)) await token.destroy();
  ctx.body = {};
  return undefined;
};
const issued = [];
provider.on('access_token.saved', (token) => issued.push(token));
provider.use(lever);

handler = provider.callback();
say({ issuer });
