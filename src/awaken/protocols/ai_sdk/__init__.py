"""The UI message stream of the Vercel AI SDK: `useChat` talks to a thread."""
