// What Socket.IO does with the messages of `diffyne-bench peers`: an echo, and a broadcast to everybody.
const { Server } = require('socket.io');

const [port, bytes] = process.argv.slice(2).map(Number);
const payload = 'x'.repeat(bytes);
const io = new Server(port, { transports: ['websocket'], serveClient: false });
io.on('connection', (socket) => {
  socket.on('echo', (text) => socket.emit('echo', text));
  socket.on('go', () => io.emit('news', payload));
});
