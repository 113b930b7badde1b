// One message, part by part.
import { getToolName, isToolUIPart, type UIMessage } from "ai";

type Answer = (answer: { id: string; approved: boolean }) => void;
type Part = UIMessage["parts"][number];

export function Message({ message, answer }: { message: UIMessage; answer: Answer }) {
  return (
    <section className={message.role}>
      <strong>{message.role}</strong>
      {message.parts.map((part, index) => (
        <PartView key={index} part={part} answer={answer} />
      ))}
    </section>
  );
}

function PartView({ part, answer }: { part: Part; answer: Answer }) {
  if (part.type === "text") return <p>{part.text}</p>;
  if (part.type === "reasoning") return <p style={{ opacity: 0.6 }}>{part.text}</p>;
  if (!isToolUIPart(part)) return null;
  return (
    <div>
      <code>
        {getToolName(part)}({JSON.stringify(part.input ?? {})})
      </code>{" "}
      {part.state === "output-available" && <code>{JSON.stringify(part.output)}</code>}
      {part.state === "output-error" && <em>{part.errorText}</em>}
      {part.state === "output-denied" && <em>denied</em>}
      {part.state === "approval-requested" && (
        <>
          <button onClick={() => answer({ id: part.approval.id, approved: true })}>Allow</button>
          <button onClick={() => answer({ id: part.approval.id, approved: false })}>Deny</button>
        </>
      )}
    </div>
  );
}
