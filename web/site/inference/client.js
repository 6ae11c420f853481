/** The page's side of the worker. */

/** A worker that runs one network at a time. */
export class InferenceWorker {
  constructor() {
    this.worker = new Worker(new URL("worker.js", import.meta.url));
    /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void, progress: (text: string) => void}>} */
    this.waiting = new Map();
    this.calls = 0;
    /**
     * Why the worker has ended; null while it runs.
     *
     * @type {string | null}
     */
    this.ended = null;
    this.worker.onmessage = ({ data }) => this.answer(data);
    this.worker.onerror = (event) => {
      event.preventDefault();
      this.end(event.message || "the worker could not be loaded; reload the page");
    };
    this.worker.onmessageerror = () => this.end("the worker's answer could not be read; try a smaller photo");
  }

  /**
   * Has the worker do a task of `Session`.
   *
   * @param {string} task
   * @param {unknown} given
   * @param {{transfer?: Transferable[], progress?: (text: string) => void}} [options]
   * @returns {Promise<any>} Rejects with the reason if the task fails, or if the worker ends or has ended.
   */
  call(task, given, { transfer = [], progress = () => {} } = {}) {
    // A worker that has ended takes messages, and never answers.
    if (this.ended !== null) return Promise.reject(new Error(this.ended));
    const id = this.calls++;
    return new Promise((resolve, reject) => {
      this.worker.postMessage({ id, task, given }, transfer);
      this.waiting.set(id, { resolve, reject, progress });
    });
  }

  /** @param {{id: number, value?: any, error?: string, progress?: string}} data */
  answer(data) {
    const call = this.waiting.get(data.id);
    if (!call) return;
    if (data.progress !== undefined) return call.progress(data.progress);
    this.waiting.delete(data.id);
    if (data.error === undefined) call.resolve(data.value);
    else call.reject(new Error(data.error));
  }

  /**
   * Ends the worker, with all its memory. Calls that it has not answered fail.
   *
   * @param {string} [reason]
   */
  end(reason = "stopped") {
    this.ended ??= reason;
    this.worker.terminate();
    for (const call of this.waiting.values()) call.reject(new Error(reason));
    this.waiting.clear();
  }
}
