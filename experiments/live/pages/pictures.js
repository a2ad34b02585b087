"use strict";
// What every page here does with pictures, files and its own elements.

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
