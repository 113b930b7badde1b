// The chat itself: send, stop, regenerate, approve. All that lasts is kept by the server.
import { useChat } from "@ai-sdk/react";
import {
  DefaultChatTransport,
  lastAssistantMessageIsCompleteWithApprovalResponses,
  type UIMessage,
} from "ai";
import { type FormEvent, useState } from "react";
import { Message } from "./Message";

const AGENTS = ["assistant", "clerk", "storyteller", "echo"];

export function Chat({ id, history }: { id: string; history: UIMessage[] }) {
  const [agentId, setAgent] = useState(AGENTS[0]);
  const [text, setText] = useState("");
  const chat = useChat({
    id,
    messages: history,
    resume: true,
    transport: new DefaultChatTransport({ api: "/v1/ai-sdk/chat" }),
    sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
  });
  const busy = chat.status === "streaming" || chat.status === "submitted";

  function send(event: FormEvent) {
    event.preventDefault();
    if (text.trim()) chat.sendMessage({ text }, { body: { agentId } });
    setText("");
  }

  // `chat.stop()` would only drop the connection; the run would go on.
  const stop = () => fetch(`/v1/ai-sdk/chat/${id}/cancel`, { method: "POST" });

  return (
    <>
      <h1>A chat with Awaken</h1>
      {chat.messages.map((message) => (
        <Message key={message.id} message={message} answer={chat.addToolApprovalResponse} />
      ))}
      {chat.error && <p role="alert">{chat.error.message}</p>}
      <form onSubmit={send}>
        <select aria-label="Agent" value={agentId} onChange={(e) => setAgent(e.target.value)}>
          {AGENTS.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
        <input aria-label="Message" value={text} onChange={(e) => setText(e.target.value)} />
        <button>Send</button>
        {busy ? (
          <button type="button" onClick={stop}>
            Stop
          </button>
        ) : (
          <button
            type="button"
            disabled={chat.messages.length < 2}
            onClick={() => chat.regenerate()}
          >
            Again
          </button>
        )}
      </form>
    </>
  );
}
