"use strict";
// A socket that comes again when the server does, and the binary messages that it brings.

function openSocket(path, hear) {
  // hear.json(message), hear.binary(header, bytes: Uint8Array of what follows it), hear.state(text)
  let socket = null, wait = 500;
  function connect() {
    socket = new WebSocket(`ws://${location.host}${path}`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => { wait = 500; hear.state("connected"); };
    socket.onmessage = (event) => {
      if (typeof event.data === "string") { hear.json(JSON.parse(event.data)); return; }
      const length = new DataView(event.data).getUint32(0, true);
      const header = JSON.parse(new TextDecoder().decode(new Uint8Array(event.data, 4, length)));
      hear.binary(header, new Uint8Array(event.data, 4 + length));
    };
    socket.onclose = () => {
      hear.state("the server does not answer; trying again");
      setTimeout(connect, wait);
      wait = Math.min(2 * wait, 5000);
    };
  }
  connect();
  return (message) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
  };
}
