import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The page and the server have one origin, as they have behind a proxy in production. Without keys
// the server answers only hosts of this machine, so the host is the server's.
const target = process.env.AWAKEN_URL ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [react()],
  server: { proxy: { "/v1": { target, changeOrigin: true } } },
});
