// A JupyterLab extension of one file, as its build would make it: a renderer of PNG that also says the alt text.
let shared;

async function renderers() {
  const widgets = await Object.values(shared["@lumino/widgets"])[0].get();

  class Picture extends widgets().Widget {
    constructor() {
      super();
      this.addClass("jp-RenderedImage");
    }

    async renderModel(model) {
      const about = model.metadata["image/png"] ?? {};
      const image = document.createElement("img");
      image.src = `data:image/png;base64,${model.data["image/png"]}`;
      for (const name of ["alt", "width", "height"]) if (about[name]) image[name] = about[name];
      if (about.needs_background) image.classList.add(`jp-needs-${about.needs_background}-background`);
      if (about.unconfined) image.classList.add("jp-mod-unconfined");
      this.node.replaceChildren(image);
    }
  }
  const rendererFactory = { safe: true, mimeTypes: ["image/png"], createRenderer: () => new Picture() };
  return { __esModule: true, default: { id: "lvlab-alt:png", rendererFactory, rank: 80, dataType: "string" } };
}

window._JUPYTERLAB = window._JUPYTERLAB ?? {};
window._JUPYTERLAB["lvlab-alt"] = {
  init: (scope) => { shared = scope; },
  get: async () => { const found = await renderers(); return () => found; },
};
