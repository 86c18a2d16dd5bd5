// The same package for require().

import rs = require("rs_script");

async function main(): Promise<rs.Reply> {
    const client: rs.Client = await rs.connect("redis://h");
    const script = client.script("return 1");
    const source = await client.scriptShow(script);
    console.log(source);
    return script.ro([], ["x"]);
}

main().catch((error: unknown) => console.log(error instanceof rs.ServerError));
