// What a team that works with Node does with Muster's queues: BullMQ's own classes, and Bull Board.
// Reads an order a line, as {"do": "add", "queue": "upkeep", …}, and answers each with {"is": …} or {"error": …}.
import { createInterface } from 'node:readline';
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { ExpressAdapter } from '@bull-board/express';
import { Queue, Worker } from 'bullmq';
import express from 'express';
import { Redis } from 'ioredis';

const [url] = process.argv.slice(2);
const opened = [];
const connect = () => new Redis(url, { maxRetriesPerRequest: null });
const queues = new Map();

function queueOf(name) {
  if (!queues.has(name)) {
    const queue = new Queue(name, { connection: connect(), prefix: 'queue' });
    queues.set(name, queue);
    opened.push(queue);
  }
  return queues.get(name);
}

const orders = {
  async add({ queue, name, data = {}, options = {} }) {
    return (await queueOf(queue).add(name, data, options)).id;
  },
  async schedules({ queue }) {
    return await queueOf(queue).getJobSchedulers();
  },
  async workers({ queue }) {
    return (await queueOf(queue).getWorkers()).map((worker) => worker.rawname);
  },
  async failed({ queue }) {
    const jobs = await queueOf(queue).getFailed();
    return jobs.map(({ id, name, failedReason, attemptsMade, stacktrace }) => (
      { id, name, failedReason, attemptsMade, stacktrace }));
  },
  async retry({ queue, id }) {
    await (await queueOf(queue).getJob(id)).retry();
    return null;
  },
  async job({ queue, id }) {
    const job = await queueOf(queue).getJob(id);
    return { ...job.asJSON(), state: await job.getState() };
  },
  async counts({ queue }) {
    return await queueOf(queue).getJobCounts();
  },
  async pause({ queue }) {
    await queueOf(queue).pause();
    return null;
  },
  async resume({ queue }) {
    await queueOf(queue).resume();
    return null;
  },
  // A worker of Node's that fails the first try of a job that says so, and else gives back its data.
  async work({ queue }) {
    const worker = new Worker(queue, async (job) => {
      await job.updateProgress({ done: 1, of: 2, words: 'half of it' });
      await job.log('a line of Node’s');
      if (job.data.fails) throw new Error('Node could not');
      return job.data;
    }, { connection: connect(), prefix: 'queue' });
    await worker.waitUntilReady();
    opened.unshift(worker);
    return null;
  },
  // Bull Board on a port of its own, with the queues that are named.
  async board({ names }) {
    const adapter = new ExpressAdapter();
    createBullBoard({ queues: names.map((name) => new BullMQAdapter(queueOf(name))), serverAdapter: adapter });
    const server = express().use(adapter.getRouter()).listen(0, '127.0.0.1');
    await new Promise((listening) => server.once('listening', listening));
    opened.unshift({ close: async () => server.closeAllConnections() || server.close() });
    return server.address().port;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  const answer = await orders[order.do](order).then((is) => ({ is }), (error) => ({ error: String(error.stack) }));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
for (const one of opened) await one.close();
process.exit(0);
