//! Starts the phone app. The service worker that opens it without network needs HTTPS or localhost; where there
//! is none, the app works as a page.
import { mount } from 'svelte';
import App from './App.svelte';
import '../app.css';
import './phone.css';

const target = document.getElementById('app');
if (target === null) throw new Error('index.html has no #app');
mount(App, { target });
if ('serviceWorker' in navigator) void navigator.serviceWorker.register('/app/sw.js', { scope: '/app/' });
