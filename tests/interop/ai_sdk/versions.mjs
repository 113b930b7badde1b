// The supported releases of `ai`, side by side, each with the `Chat` of its React package.
const RELEASES = {
  5: ["ai5", "react2"],
  6: ["ai6", "react3"],
  "6.0.0": ["ai600", "react3"],
  7: ["ai7", "react4"],
};

export async function load(version) {
  const [ai, react] = RELEASES[version];
  return { version, ...(await import(ai)), Chat: (await import(react)).Chat };
}
