// What transformers.js reads from a bundle: `node ask_transformers_js.mjs JOB` prints one JSON document {answers}.
// JOB: {models: a folder of bundles, name, task, dtype, texts, options}. Run where node_modules is.
import { readFileSync } from "node:fs";
import { env, pipeline } from "@huggingface/transformers";

const job = JSON.parse(readFileSync(process.argv[2], "utf8"));
env.allowRemoteModels = false;
env.allowLocalModels = true;
env.localModelPath = job.models;
env.useFSCache = false;

const answer = await pipeline(job.task, job.name, { dtype: job.dtype, device: "cpu" });
const answers = [];
for (const text of job.texts) {
  const made = await answer(text, job.options);
  answers.push(made.tolist ? made.tolist()[0] : made);
}
process.stdout.write(JSON.stringify({ answers }));
