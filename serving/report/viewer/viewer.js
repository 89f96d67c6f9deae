// The view of a prediction's volumes: a NiiVue a sequence, all under one crosshair.
// It appears once everything is drawn; without WebGL2 the static page stays as it is.
"use strict";
(() => {
  const element = (id) => document.getElementById(id);
  const data = JSON.parse(element("volumes").textContent);
  const { Niivue, NVImage, SLICE_TYPE, MULTIPLANAR_TYPE, SHOW_RENDER, DRAG_MODE } = niivue;
  const TUMOUR = [255, 176, 0];
  const REGIONS = [
    [86, 180, 233], [0, 158, 115], [150, 140, 230], [204, 121, 167], [0, 114, 178],
    [190, 80, 80], [210, 230, 120], [110, 200, 140], [230, 150, 190],
  ]; // none of them near the tumour's
  const REGION_OPACITY = 0.35;
  const OPTIONS = {
    sliceType: SLICE_TYPE.MULTIPLANAR,
    multiplanarLayout: MULTIPLANAR_TYPE.ROW,
    multiplanarShowRender: SHOW_RENDER.NEVER,
    multiplanarPadPixels: 4,
    isRadiologicalConvention: true,
    dragMode: DRAG_MODE.windowing,
    dragAndDropEnabled: false,
    scrollRequiresFocus: true,
    crosshairColor: [0.35, 0.75, 1, 0.8],
    crosshairWidthUnit: "mm",
    crosshairWidth: 0.6,
    crosshairGap: 8,
    fontColor: [0.9, 0.9, 0.9, 1],
    logLevel: "error",
    loadingText: "",
  };
  const REGION = 1, MASK = data.regions ? 2 : 1; // layers over the sequence, which is layer 0
  const AXES = ["sagittal", "coronal", "axial"]; // normal to x, y, z
  let views = [];

  const table = (colours, shown) => ({
    R: [0, ...colours.map((c) => c[0])],
    G: [0, ...colours.map((c) => c[1])],
    B: [0, ...colours.map((c) => c[2])],
    A: [0, ...colours.map((_, i) => (shown(i + 1) ? 255 : 0))],
    labels: ["", ...colours.map(String)],
  });

  const decimal = (value) => value.toFixed(1).replace("-", "−");

  async function load(view, base64, options) {
    view.addVolume(await NVImage.loadFromBase64({ base64, name: "volume.nii.gz", ...options }));
  }

  async function open(sequence) {
    const picture = document.createElement("div"), title = document.createElement("b");
    const canvas = document.createElement("canvas");
    picture.className = "picture";
    title.textContent = sequence.name;
    picture.append(canvas, title);
    element("pictures").append(picture);
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", `${sequence.name}: axial, coronal and sagittal slice`);
    canvas.setAttribute("aria-describedby", "keys place");
    const view = new Niivue(OPTIONS);
    await view.attachToCanvas(canvas, false);
    const [low, high] = data.window;
    await load(view, sequence.nifti, { cal_min: low, cal_max: high, colormap: "gray" });
    if (data.regions) await load(view, data.regions.nifti, { opacity: 0 });
    await load(view, data.mask, { opacity: 0 });
    view.volumes[MASK].setColormapLabel(table([TUMOUR], () => true));
    const [, nx, ny, nz] = view.volumes[0].dimsRAS, [, sx, sy, sz] = view.volumes[0].pixDimsRAS;
    const across = 2 * nx * sx + ny * sy, up = Math.max(ny * sy, nz * sz);
    picture.style.aspectRatio = `${across} / ${up}`;
    // All sequences and the controls fit the window's height.
    picture.style.maxWidth = `max(36rem, ${(0.7 * across) / up / data.sequences.length} * 100vh)`;
    view.onLocationChange = (where) => follow(view, where);
    canvas.addEventListener("keydown", (event) => key(view, event), true);
    window.addEventListener("mouseup", () => takeWindow(view));
    return view;
  }

  function follow(source, where) {
    for (const view of views) {
      if (view !== source) {
        view.scene.crosshairPos = source.scene.crosshairPos;
        view.drawScene();
      }
    }
    const voxel = source.frac2vox(source.scene.crosshairPos);
    AXES.forEach((name, axis) => { element(name).value = voxel[axis]; });
    tell(Array.from(where.mm));
  }

  // The volumes' own values under the crosshair, in words.
  function tell([x, y, z]) {
    const side = (value, plus, minus) => `${Math.abs(value).toFixed(0)} mm ${value < 0 ? minus : plus}`;
    const value = (view, layer) => {
      const volume = view.volumes[layer], voxel = volume.mm2vox([x, y, z]);
      return volume.getValue(voxel[0], voxel[1], voxel[2]);
    };
    const said = [`${side(x, "right", "left")}, ${side(y, "anterior", "posterior")}, ${side(z, "superior", "inferior")}`];
    const inside = value(views[0], 0) >= -4;
    views.forEach((view, i) => {
      said.push(`${data.sequences[i].name} ${inside ? decimal(value(view, 0)) : "–"}`);
    });
    said.push(!inside ? "outside the brain" : value(views[0], MASK) > 0 ? "in the tumour" : "not in the tumour");
    const region = data.regions ? value(views[0], REGION) : 0;
    if (region > 0) said.push(data.regions.names[region - 1]);
    element("place").textContent = said.join(" · ");
  }

  const MOVES = {
    ArrowUp: [0, 0, 1], ArrowDown: [0, 0, -1], PageUp: [0, 1, 0], PageDown: [0, -1, 0],
    ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0], // the patient's right is on the left
  };

  function key(view, event) {
    if (event.key === "Tab" || event.ctrlKey || event.metaKey || event.altKey) return;
    event.stopImmediatePropagation(); // NiiVue has keys of its own
    if (MOVES[event.key]) {
      event.preventDefault();
      view.moveCrosshairInVox(...MOVES[event.key]);
    } else if (event.key.toLowerCase() === "m") {
      element("mask").checked = !element("mask").checked;
      showMask();
    }
  }

  function setWindow(low, high) {
    for (const view of views) {
      view.volumes[0].cal_min = low;
      view.volumes[0].cal_max = high;
      view.updateGLVolume();
    }
    element("level").value = (low + high) / 2;
    element("width").value = high - low;
    element("greys").textContent = `${decimal(low)} to ${decimal(high)}`;
  }

  function takeWindow(view) {
    const { cal_min: low, cal_max: high } = view.volumes[0];
    const known = Number(element("width").value), level = Number(element("level").value);
    const moved = Math.abs(high - low - known) > 0.06 || Math.abs((low + high) / 2 - level) > 0.06;
    if (moved) setWindow(low, high);
  }

  function showMask() {
    const opacity = element("mask").checked ? Number(element("opacity").value) : 0;
    for (const view of views) view.setOpacity(MASK, opacity);
  }

  function showRegion() {
    const chosen = Number(element("region").value);
    for (const view of views) {
      view.volumes[REGION].setColormapLabel(table(REGIONS, (i) => chosen === -1 || chosen === i));
      view.setOpacity(REGION, chosen ? REGION_OPACITY : 0);
    }
  }

  function reset() {
    setWindow(...data.window);
    views[0].scene.crosshairPos = views[0].mm2frac(data.centre);
    views[0].drawScene();
    views[0].createOnLocationChange();
  }

  function connect() {
    AXES.forEach((name, axis) => {
      element(name).max = views[0].volumes[0].dimsRAS[axis + 1] - 1;
      element(name).addEventListener("input", () => {
        const step = [0, 0, 0];
        step[axis] = Number(element(name).value) - views[0].frac2vox(views[0].scene.crosshairPos)[axis];
        views[0].moveCrosshairInVox(...step);
      });
    });
    const slide = () => {
      const level = Number(element("level").value), half = Number(element("width").value) / 2;
      setWindow(level - half, level + half);
    };
    element("level").addEventListener("input", slide);
    element("width").addEventListener("input", slide);
    element("mask").addEventListener("input", showMask);
    element("opacity").addEventListener("input", showMask);
    element("reset").addEventListener("click", reset);
    if (data.regions) {
      element("region").addEventListener("input", showRegion);
      showRegion();
    }
  }

  async function start() {
    const section = element("viewer");
    if (!document.createElement("canvas").getContext("webgl2")) return;
    section.hidden = false;
    try {
      for (const sequence of data.sequences) views.push(await open(sequence));
      connect();
      showMask();
      reset();
      section.dataset.ready = "yes";
    } catch (error) {
      section.hidden = true;
      throw error;
    }
  }
  start();
})();
