// A job's life at BullMQ: added, fetched and completed, by clients of which each has a connection of its own and one
// job at a time. What is completed is removed, so memory stays level.
//
// `node life.mjs PORT CLIENTS` says `ready` when every connection stands; then each line of its input
// (`{"lives": 1000, "payload": {}}`) is one turn, answered by a line: how long it took and what each life took, in
// milliseconds. `node life.mjs --version` says what it runs on.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';

const QUEUE = 'lives';

if (process.argv[2] === '--version') {
  const { version } = createRequire(import.meta.url)('bullmq/package.json');
  console.log(`BullMQ ${version}, node ${process.versions.node}`);
  process.exit(0);
}
const [port, clients] = process.argv.slice(2).map(Number);

async function connect(_, number) {
  // What a worker asks of a connection that it shares: to try for ever.
  const connection = new Redis({ host: '127.0.0.1', port, maxRetriesPerRequest: null });
  const queue = new Queue(QUEUE, { connection, defaultJobOptions: { removeOnComplete: true } });
  const worker = new Worker(QUEUE, null, { connection, autorun: false });
  for (const part of [queue, worker]) {
    part.on('error', fail);
    await part.waitUntilReady();
  }
  return { queue, worker, token: `client-${number}` };
}

function fail(error) {
  console.error(error);
  process.exit(1);
}

// What another client added may be fetched, but there is always as much as this one added.
async function lives({ queue, worker, token }, turn) {
  while (turn.left > 0) {
    turn.left -= 1;
    const start = performance.now();
    await queue.add('life', turn.payload);
    const job = await worker.getNextJob(token, { block: false });
    // Not the next one with the answer: it would be the second life of this client.
    await job.moveToCompleted(null, token, false);
    turn.took.push(performance.now() - start);
  }
}

const open = await Promise.all(Array.from({ length: clients }, connect));
console.log('ready');

for await (const line of createInterface({ input: process.stdin })) {
  const { lives: left, payload } = JSON.parse(line);
  const turn = { left, payload, took: [] };
  const start = performance.now();
  await Promise.all(open.map((client) => lives(client, turn))).catch(fail);
  console.log(JSON.stringify({ whole: performance.now() - start, took: turn.took }));
}
process.exit(0);
