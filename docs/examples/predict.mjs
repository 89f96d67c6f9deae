// One patient through gRPC, from Node. Setup: npm install @grpc/grpc-js @grpc/proto-loader
// Usage: node predict.mjs HOST:8001 T1C T2 FLAIR AGE OUT

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const [address, t1c, t2, flair, age, out] = process.argv.slice(2);

// A BYTES element: its length in four bytes, least significant first, and its content.
function element(content) {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(content.length);
  return Buffer.concat([length, content]);
}

function float(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}

const images = { t1c, t2, flair };
const inputs = Object.keys(images).map((name) => ({ name, datatype: "BYTES", shape: [1] }));
const contents = Object.values(images).map((path) => element(readFileSync(path)));

const proto = new URL("inference.proto", import.meta.url).pathname;
const { inference } = grpc.loadPackageDefinition(
  loader.loadSync(proto, { keepCase: true, longs: Number }),
);
const client = new inference.GRPCInferenceService(address, grpc.credentials.createInsecure());
const request = {
  model_name: "glioma_idh_images",
  inputs: [...inputs, { name: "age", datatype: "FP32", shape: [1] }],
  raw_input_contents: [...contents, float(Number(age))],
};

client.ModelInfer(request, { deadline: Date.now() + 300_000 }, (error, answer) => {
  if (error) {
    console.error(error.details);
    process.exit(error.code === grpc.status.INVALID_ARGUMENT ? 2 : 1);
  }
  const found = Object.fromEntries(
    answer.outputs.map(({ name }, index) => [name, answer.raw_output_contents[index].subarray(4)]),
  );
  mkdirSync(out, { recursive: true });
  if (found.mask_dicom.length) writeFileSync(join(out, "tumor_mask.dcm"), found.mask_dicom);
  writeFileSync(join(out, "tumor_mask.nii.gz"), found.mask_nifti);
  writeFileSync(join(out, "prediction.json"), found.result);
  console.log(JSON.parse(found.result).probability_idh_mutant);
  client.close();
});
