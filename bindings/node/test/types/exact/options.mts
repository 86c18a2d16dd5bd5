// With exactOptionalPropertyTypes: what a program has not decided may be undefined.

import { connect, type CallOptions, type ConnectOptions, type ScriptError } from "rs_script";

declare const unknown: { timeout?: number; signal?: AbortSignal };
const options: ConnectOptions = {
    callTimeout: unknown.timeout, signal: unknown.signal, password: undefined, mapAddress: undefined,
};
const client = await connect("redis://h", options);
const ofCall: CallOptions = { timeout: unknown.timeout, signal: unknown.signal, buffers: undefined };
await client.script("return 1", { idempotent: undefined })([], [], ofCall);
await client.with({ timeout: unknown.timeout, readFrom: undefined, route: undefined })
    .pipeline({ repairUnordered: undefined }).exec(ofCall);
await client.transaction({ trustCache: undefined }).exec();
export const indexOf = (error: ScriptError): number => error.index ?? error.arrived?.length ?? -1;
