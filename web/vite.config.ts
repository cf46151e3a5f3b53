//! How the dashboard is built. The result (`dist`) is static, holds no inline script, and is embedded in
//! the binary.
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

const hub = process.env.MOTEHUB_HTTP ?? '127.0.0.1:8080';

export default defineConfig({
  plugins: [svelte()],
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 600,
    // The dashboard, and the phone app at /app/ with its own small bundle.
    rollupOptions: { input: { dashboard: 'index.html', phone: 'app/index.html' } },
  },
  server: {
    proxy: { '/api': { target: `http://${hub}`, ws: true, changeOrigin: true } },
  },
  test: { include: ['src/**/*.test.ts'] },
});
