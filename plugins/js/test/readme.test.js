import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
const examples = [...readme.matchAll(/^```js\n([^]*?)^```$/gm)].map((match) => match[1]);

test("the examples of the README run", async () => {
    // A module finds this package by its name only from a folder in it.
    const folder = await mkdtemp(fileURLToPath(new URL(".readme-", import.meta.url)));
    try {
        for (const [number, example] of examples.entries()) {
            const path = join(folder, `${number}.mjs`);
            await writeFile(path, `import assert from "node:assert/strict";\n${example}`);
            await import(pathToFileURL(path));
        }
    } finally {
        await rm(folder, { recursive: true });
    }
    if (examples.length !== 2) {
        throw new Error(`the README has ${examples.length} examples`);
    }
});
