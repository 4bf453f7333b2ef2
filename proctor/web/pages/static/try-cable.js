/** A network that can be unplugged: what goes through it fails then, as it does without one. */
export class Cable {
  #plugged = true;
  #sockets = new Set();

  set plugged(plugged) {
    this.#plugged = plugged;
    if (plugged) return;
    for (const socket of this.#sockets) {
      socket.onclose?.({ code: 1006, reason: "" });
      socket.close();
    }
    this.#sockets.clear();
  }

  get plugged() {
    return this.#plugged;
  }

  /** To be given to `connect` in place of the browser's. */
  get WebSocket() {
    const cable = this;
    return function (...address) {
      if (!cable.#plugged) return cable.#dead();
      const socket = new WebSocket(...address);
      cable.#sockets.add(socket);
      socket.addEventListener("close", () => cable.#sockets.delete(socket));
      return socket;
    };
  }

  fetch = (...request) =>
    this.#plugged ? fetch(...request) : Promise.reject(new TypeError("the network is unplugged"));

  #dead() {
    const socket = { send() {}, close() {} };
    setTimeout(() => socket.onclose?.({ code: 1006, reason: "" }), 100);
    return socket;
  }
}
