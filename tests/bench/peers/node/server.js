// A stream of frames into Redis as the documentation of ws and ioredis would have it written.
//
// Many messages of a connection are on their way at once: commands of one turn of the event loop share a pipeline
// (enableAutoPipelining). Redis answers in order, so acknowledgements leave in order. Of what Proctor does it leaves
// out: live analysis and reports, sessions and their end, storing a seq once only, batches and the other shapes of a
// message, checks of the features, event time and clock offsets, bounds on memory, and staying up while Redis is down.
// `python -m tests.bench.bench_peers` starts it.

import { Redis } from "ioredis";
import { WebSocketServer } from "ws";

const PATH = /^\/api\/v1\/session\/ws\/([A-Za-z0-9._-]{1,128})$/;
const RETENTION_SECONDS = Number(process.env.FRAME_BUFFER_RETENTION_SECONDS ?? 3600);
const INTERNAL_ERROR = 1011;

const redis = new Redis(process.env.REDIS_URL, { enableAutoPipelining: true });
redis.on("error", (failure) => console.error(failure));

let stored = 0;

function read(data) {
  const message = JSON.parse(data);
  const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
  if (!isObject(message) || !isObject(message.extracted_features)) {
    throw new TypeError("a message is an object with extracted_features");
  }
  if (!Number.isSafeInteger(message.seq) || message.seq < 0) {
    throw new TypeError("seq must be a whole number");
  }
  if (!Number.isSafeInteger(message.timestamp)) {
    throw new TypeError("timestamp must be in milliseconds");
  }
  return message;
}

function store(sessionId, message) {
  const frameId = `${message.timestamp}-${stored++}`;
  const frame = {
    ...message.extracted_features,
    timestamp: new Date(message.timestamp).toISOString(),
    received_at: new Date().toISOString(),
    session_id: sessionId,
    frame_id: frameId,
  };
  const index = `frames_meta:${sessionId}`;
  return Promise.all([
    redis.set(`frame_meta:${sessionId}:${frameId}`, JSON.stringify(frame), "EX", RETENTION_SECONDS),
    redis.zadd(index, message.timestamp / 1000, frameId),
    redis.expire(index, RETENTION_SECONDS),
  ]);
}

async function take(socket, sessionId, data) {
  let message;
  try {
    message = read(data);
  } catch (failure) {
    socket.send(JSON.stringify({ type: "error", detail: failure.message }));
    return;
  }
  try {
    await store(sessionId, message);
    socket.send(JSON.stringify({ type: "ack", seq: message.seq }));
  } catch (failure) {
    console.error(failure);
    socket.close(INTERNAL_ERROR);
  }
}

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.env.PORT ?? 0),
  verifyClient: ({ req }) => PATH.test(req.url),
});
server.on("connection", (socket, request) => {
  const [, sessionId] = PATH.exec(request.url);
  socket.on("error", (failure) => console.error(failure));
  socket.on("message", (data) => take(socket, sessionId, data));
});
server.on("listening", () => console.log(`serving on http://127.0.0.1:${server.address().port}`));

process.on("SIGTERM", () => process.exit(0));
