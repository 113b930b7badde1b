// Which chat is shown, and what was said in it before the page was opened.
import type { UIMessage } from "ai";
import { createRoot } from "react-dom/client";
import { Chat } from "./Chat";

/** The chat in the address, or a new one: a reload shows the same. */
function chatId(): string {
  if (!location.hash) location.hash = crypto.randomUUID();
  return location.hash.slice(1);
}

async function historyOf(id: string): Promise<UIMessage[]> {
  const response = await fetch(`/v1/ai-sdk/chat/${id}/messages`);
  if (!response.ok) throw new Error(`history: ${response.status}`);
  return (await response.json()).messages;
}

const id = chatId();
const root = createRoot(document.getElementById("root")!);
root.render(<Chat id={id} history={await historyOf(id)} />);
