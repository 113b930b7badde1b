// Simulated model providers on a free port of the loopback interface. Prints its address as one
// line and ends when its standard input does, so it cannot outlive the tests that started it.
import { LLMock } from "@copilotkit/aimock";

const mock = new LLMock({ port: 0, host: "127.0.0.1", auth: { apiKeys: [process.argv[2]] } });
await mock.start();
console.log(mock.url);
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
