"""What uWebSockets (by socketify) does with the messages of `diffyne-bench peers`: an echo, and a broadcast to everybody."""

import sys

from socketify import App, OpCode

PORT, PAYLOAD_BYTES = map(int, sys.argv[1:3])
PAYLOAD = "x" * PAYLOAD_BYTES
app = App()


def answer(socket, message, opcode):
    if message == "go":
        app.publish("everybody", PAYLOAD, OpCode.TEXT)
    else:
        socket.send(message, opcode)


app.ws("/*", {"open": lambda socket: socket.subscribe("everybody"), "message": answer, "idle_timeout": 600})
app.listen({"port": PORT, "host": "127.0.0.1"}, lambda config: print(f"listening on {config.port}", flush=True))
app.run()
