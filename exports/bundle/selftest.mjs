// Shows whether the model answers here, in JavaScript, as it did where this bundle was made: node selftest.mjs
//
// First the digest of every file; then, for each golden image, how far the outputs for the pixels that the model sees
// (golden/NN.seen.png) are from those in golden/. How a photo becomes these pixels is not tested here.
// It ends with 1 where something is not as it should be.

import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { inflateSync } from "node:zlib";

const HERE = dirname(fileURLToPath(import.meta.url));
const MANIFEST = "MANIFEST.sha256";
const PACKAGE = "onnxruntime-node";
const CHANNELS = { 0: 1, 2: 3 }; // of the colour types of PNG that a bundle has: grey and RGB

const read = (name) => readFileSync(join(HERE, name));
const parsed = (name) => JSON.parse(read(name).toString("utf8"));

// What is not as the manifest says, a sentence each.
function altered() {
  const found = [];
  for (const line of read(MANIFEST).toString("utf8").split("\n").filter(Boolean)) {
    const digest = line.slice(0, 64), name = line.slice(66);
    if (!existsSync(join(HERE, name))) found.push(`${name}: is missing`);
    else if (createHash("sha256").update(read(name)).digest("hex") !== digest)
      found.push(`${name}: is not the file that was bundled`);
  }
  return found;
}

// The pixels of a PNG of 8 bits a channel: rows, columns, channels.
function pixelsOf(png) {
  const width = png.readUInt32BE(16), height = png.readUInt32BE(20), channels = CHANNELS[png[25]];
  if (png[24] !== 8 || channels === undefined || png[28] !== 0) throw new Error("not a PNG as a bundle has them");
  const parts = [];
  for (let at = 8; at < png.length; at += 12 + png.readUInt32BE(at)) {
    const start = at + 8, kind = png.toString("latin1", at + 4, start);
    if (kind === "IDAT") parts.push(png.subarray(start, start + png.readUInt32BE(at)));
  }
  const packed = inflateSync(Buffer.concat(parts)), row = width * channels;
  const pixels = new Uint8Array(height * row);
  for (let y = 0; y < height; y++) {
    const filter = packed[y * (row + 1)];
    for (let x = 0; x < row; x++) {
      const at = y * row + x;
      const left = x >= channels ? pixels[at - channels] : 0, up = y ? pixels[at - row] : 0;
      const corner = x >= channels && y ? pixels[at - row - channels] : 0;
      pixels[at] = packed[y * (row + 1) + 1 + x] + [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter];
    }
  }
  return pixels;
}

function paeth(left, up, corner) {
  const [a, b, c] = [up - corner, left - corner, left + up - 2 * corner].map(Math.abs);
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

// What goes into the model, of the type and with the axes that preprocessing.json names.
function feed(pixels, rule) {
  const { height, width } = rule.size, { channels } = rule, plain = rule.dtype === "uint8", round = Math.fround;
  const made = plain ? new Uint8Array(pixels.length) : new Float32Array(pixels.length);
  pixels.forEach((pixel, at) => {
    const channel = at % channels, place = (at - channel) / channels;
    const to = rule.layout === "NCHW" ? channel * height * width + place : at;
    if (plain) return void (made[to] = pixel);
    const mean = round(rule.mean[channel]), std = round(rule.std[channel]);
    made[to] = round(pixel * round(1 / round(255 * std))) - round(mean / std);
  });
  return made;
}

// Whether a golden image is answered as it was, and a sentence on it.
function compared(found, shape, one, rule, { measure, allowed }) {
  const content = read(one.output), expected = [];
  for (let at = 0; at < content.length; at += 4) expected.push(content.readFloatLE(at));
  if (shape.join() !== one.shape.join())
    return [false, `${one.seen}: gives outputs of shape ${shape}, not ${one.shape}`];
  let differences = expected.map((value, at) => Math.abs(found[at] - value));
  if (measure === "rms")
    differences = [Math.sqrt(differences.reduce((sum, one) => sum + one * one, 0) / differences.length)];
  const limits = [allowed].flat(), inner = rule.layout === "NCHW" ? shape.slice(2).reduce((a, b) => a * b, 1) : 1;
  const limit = (at) => limits[limits.length === 1 ? 0 : Math.floor(at / inner) % limits.length];
  const over = differences.map((one, at) => (Number.isFinite(one) ? one - limit(at) : Infinity));
  const at = over.indexOf(over.reduce((a, b) => Math.max(a, b)));
  const name = measure === "rms" ? "rms difference" : "difference";
  const said = `${name} ${differences[at].toPrecision(3)} (allowed ${limit(at).toPrecision(3)})`;
  return [over[at] <= 0, `${one.seen}: ${said}`];
}

async function answers(ort) {
  const rule = parsed("preprocessing.json"), golden = parsed("golden/golden.json"), results = [];
  const options = { intraOpNumThreads: 1, executionProviders: ["cpu"] };
  const session = await ort.InferenceSession.create(join(HERE, rule.model), options);
  for (const one of golden.images) {
    const image = new ort.Tensor(rule.dtype, feed(pixelsOf(read(one.seen)), rule), rule.shape);
    const output = (await session.run({ [session.inputNames[0]]: image }))[session.outputNames[0]];
    results.push(compared(output.data, output.dims, one, rule, golden.tolerance));
  }
  return results;
}

async function main() {
  const broken = altered();
  if (broken.length) {
    broken.forEach((sentence) => console.log(`FAILED  ${sentence}`));
    console.log("unpack the bundle again; nothing was run");
    return 1;
  }
  console.log(`ok      every file is as ${MANIFEST} says`);
  let ort;
  try {
    ort = createRequire(import.meta.url)(PACKAGE);
  } catch (error) {
    console.log(`FAILED  nothing was run: ${error.message.split("\n")[0]}: npm install ${PACKAGE}`);
    return 1;
  }
  const results = await answers(ort), failed = results.filter(([fine]) => !fine).length;
  results.forEach(([fine, sentence]) => console.log(`${fine ? "ok    " : "FAILED"}  ${sentence}`));
  console.log(`${results.length - failed} of ${results.length} golden images are answered as they were`);
  return failed ? 1 : 0;
}

process.exitCode = await main();
