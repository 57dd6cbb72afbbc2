// Browsers start no worker for a page that was opened from disk. There, the search runs in a frame, which receives and
// posts messages as a worker does: later, and copies.
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(address) {
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      this.inside = this.frame.contentWindow;
      this.inside.postMessage = (data) => this.later(() => this.onmessage?.({ data: structuredClone(data) }));
      const script = this.inside.document.createElement("script");
      script.src = address;
      this.started = new Promise((done) => { script.onload = done; });
      this.inside.document.body.append(script);
    }

    later(deliver) {
      this.started.then(() => setTimeout(deliver));
    }

    postMessage(data) {
      const message = new MessageEvent("message", { data: structuredClone(data) });
      this.later(() => this.inside.dispatchEvent(message));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
