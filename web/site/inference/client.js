/** The page's side of the worker. */

/** A worker that runs one network at a time. */
export class InferenceWorker {
  constructor() {
    this.worker = new Worker(new URL("worker.js", import.meta.url));
    /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void, progress: (text: string) => void}>} */
    this.waiting = new Map();
    this.calls = 0;
    this.worker.onmessage = ({ data }) => this.answer(data);
    this.worker.onerror = (event) => {
      event.preventDefault();
      this.end(event.message || "the worker could not be loaded; reload the page");
    };
  }

  /**
   * Has the worker do a task of `Session`.
   *
   * @param {string} task
   * @param {unknown} given
   * @param {{transfer?: Transferable[], progress?: (text: string) => void}} [options]
   * @returns {Promise<any>} Rejects with the reason if the task fails or the worker ends.
   */
  call(task, given, { transfer = [], progress = () => {} } = {}) {
    const id = this.calls++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject, progress });
      this.worker.postMessage({ id, task, given }, transfer);
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
    this.worker.terminate();
    for (const call of this.waiting.values()) call.reject(new Error(reason));
    this.waiting.clear();
  }
}
