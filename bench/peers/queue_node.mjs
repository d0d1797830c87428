// Node's BullMQ, as its documentation shows it: what queue_rig.py does, in Node.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const AT_ONCE = 20;
const RATE = 100;
const WARM_UP = 100;

const require = createRequire(`${process.argv[2]}/`);
const { Queue, Worker } = require("bullmq");

const order = JSON.parse(readFileSync(0, "utf8"));
const { hostname, port, username, password, pathname } = new URL(order.redis_url);
const connection = {
  host: hostname,
  port: Number(port),
  username: username || undefined,
  password: password ? decodeURIComponent(password) : undefined,
  db: Number(pathname.slice(1) || 0),
  maxRetriesPerRequest: null,
};
const queue = new Queue("node", { connection });
const runs = { wanted: 0, waited: [], first: 0, last: 0, done: () => {} };

function begin(wanted) {
  Object.assign(runs, { wanted, waited: [], first: 0, last: 0 });
  return new Promise((done) => { runs.done = done; });
}

async function ran(job) {
  runs.last = performance.now();
  runs.first ||= runs.last;
  runs.waited.push(Date.now() / 1000 - job.data.sent);
  if (runs.waited.length === runs.wanted) runs.done();
}

async function added(jobs) {
  let left = jobs;
  const add = async () => {
    while (left-- > 0) await queue.add("noop", { sent: Date.now() / 1000 });
  };
  await Promise.all(Array.from({ length: AT_ONCE }, add));
}

async function drained(jobs, concurrency, areThere = false) {
  if (!areThere) await added(jobs);
  const all = begin(jobs);
  const before = process.cpuUsage();
  const worker = new Worker("node", ran, { connection, concurrency });
  await all;
  const { user, system } = process.cpuUsage(before);
  await worker.close();
  return [((jobs - 1) / (runs.last - runs.first)) * 1000, (user + system) / 1e6 / jobs * 1000];
}

async function waited(seconds) {
  const jobs = Math.floor(seconds * RATE);
  const all = begin(jobs);
  const worker = new Worker("node", ran, { connection, concurrency: 10 });
  await new Promise((go) => setTimeout(go, 500));
  const began = performance.now();
  for (let number = 0; number < jobs; number += 1) {
    await new Promise((go) => setTimeout(go, Math.max(0, began + number * 1000 / RATE - performance.now())));
    await queue.add("noop", { sent: Date.now() / 1000 });
  }
  await all;
  await worker.close();
  return runs.waited.toSorted((one, other) => one - other);
}

function peakMb() {
  const line = readFileSync("/proc/self/status", "utf8").split("\n").find((one) => one.startsWith("VmHWM:"));
  return Number(line.split(/\s+/)[1]) / 1024;
}

await drained(WARM_UP, 10);
const began = performance.now();
await added(order.jobs);
const figures = { add_per_s: order.jobs / (performance.now() - began) * 1000 };
[figures.c10, figures.cpu_s_per_1000] = await drained(order.jobs, 10, true);
[figures.c1] = await drained(Math.floor(order.jobs / 5), 1);
[figures.c100] = await drained(order.jobs, 100);
const late = await waited(order.seconds);
figures.p50_ms = late[Math.floor(late.length / 2)] * 1000;
figures.p99_ms = late[Math.floor(late.length * 0.99)] * 1000;
figures.peak_mb = peakMb();
await queue.close();
console.log(JSON.stringify(figures));
process.exit(0);
