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

function saveFile(name, kind, bytes) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes], { type: kind }));
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function drawFrame(canvas, bytes, offset, height, width) {
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  const picture = new ImageData(width, height), data = picture.data;
  for (let i = 0, j = offset; i < data.length; i += 4, j += 3) {
    data[i] = bytes[j]; data[i + 1] = bytes[j + 1]; data[i + 2] = bytes[j + 2]; data[i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

function element(id) { return document.getElementById(id); }
