// The names that a plugin imports. README.md describes them, and index.d.ts has their types.

export { DateTime } from "./src/time.js";
export { Refusal, Reject } from "./src/reject.js";
export { count, log } from "./src/host.js";
export { isDecimal, isDigits } from "./src/numbers.js";
