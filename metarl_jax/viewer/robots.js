"use strict";
// Draws robots in three dimensions by three.js. One WebGL renderer serves all drawings of a page, because browsers limit
// the number of WebGL contexts; each picture is copied to its own canvas. One camera serves them as well, so that they
// are seen from the same side.
const robots = (() => {
  const RATIO = 0.72, bodies = new Map();
  let renderer = null, scene, camera, target, stage, ground, marks, missing = false;

  // Sets up the scene for robots of the size of this one; false where the browser has no WebGL.
  function begin(space) {
    if (renderer || missing) return !missing;
    try { renderer = new THREE.WebGLRenderer({ antialias: true, alpha: true }); }
    catch { missing = true; return false; }
    renderer.shadowMap.enabled = true; renderer.shadowMap.type = THREE.PCFSoftShadowMap;
    scene = new THREE.Scene();
    camera = new THREE.PerspectiveCamera(40, 1 / RATIO, 0.05, 100);
    const height = space.path[0][2], goes = space.marks.some(mark => mark.kind === "disc");
    const distance = ((space.planar ? 2.2 : 2.8) + 1.2 * height) * (goes ? 1.6 : 1);
    target = new THREE.Vector3(0, 0, 0.6 * height); camera.up.set(0, 0, 1);
    camera.position.set(...(space.planar ? [-0.2, -0.96, 0.2] : [-0.6, -0.65, 0.45])).multiplyScalar(distance).add(target);
    scene.add(new THREE.AmbientLight(0xffffff, 0.62));
    const sun = new THREE.DirectionalLight(0xffffff, 0.75), shadow = sun.shadow;
    sun.position.set(-2, -3, 6); sun.castShadow = true; shadow.mapSize.set(1024, 1024); shadow.bias = -0.002;
    Object.assign(shadow.camera, { left: -4, right: 4, top: 4, bottom: -4, near: 0.5, far: 14 });
    ground = new THREE.Group();
    const card = getComputedStyle(document.documentElement).getPropertyValue("--card").trim(), shape = new THREE.PlaneGeometry(60, 60);
    const tiles = new THREE.Mesh(shape, new THREE.MeshBasicMaterial({ map: checks(card) }));
    const shade = new THREE.Mesh(shape, new THREE.ShadowMaterial({ opacity: 0.25, depthWrite: false }));
    tiles.position.z = -0.004; shade.receiveShadow = true; ground.add(tiles, shade); scene.fog = new THREE.Fog(card, 1.2 * distance, 20);
    stage = new THREE.Group(); marks = new THREE.Group(); stage.add(marks);
    scene.add(sun, ground, stage);
    return true;
  }

  // Squares of 1 m, in the colours of the ground.
  function checks(card) {
    const tile = document.createElement("canvas"), c = tile.getContext("2d"), texture = new THREE.CanvasTexture(tile);
    tile.width = tile.height = 64; c.fillStyle = card; c.fillRect(0, 0, 64, 64);
    c.fillStyle = data.colors.ground; c.fillRect(0, 0, 32, 32); c.fillRect(32, 32, 32, 32);
    texture.wrapS = texture.wrapT = THREE.RepeatWrapping; texture.repeat.set(30, 30); texture.anisotropy = 8;
    return texture;
  }

  // The meshes of a robot, which episodes with the same geometry share.
  function bodyOf(space) {
    const key = JSON.stringify(space.capsules);
    if (!bodies.has(key)) {
      const body = new THREE.Group(), links = space.poses.length / 7 / space.path.length;
      for (let i = 0; i < links; i++) body.add(new THREE.Group());
      for (const [link, ax, ay, az, bx, by, bz, radius, color] of space.capsules) {
        const axis = new THREE.Vector3(bx - ax, by - ay, bz - az), length = axis.length();
        const shape = length > 0 ? new THREE.CapsuleGeometry(radius, length, 8, 20) : new THREE.SphereGeometry(radius, 24, 16);
        const mesh = new THREE.Mesh(shape, new THREE.MeshLambertMaterial({ color: data.colors[color] }));
        mesh.position.set((ax + bx) / 2, (ay + by) / 2, (az + bz) / 2); mesh.castShadow = true;
        if (length === 0) mesh.scale.setScalar(1.03); // A ball at the end of a capsule would flicker.
        else mesh.quaternion.setFromUnitVectors(new THREE.Vector3(0, 1, 0), axis.normalize());
        body.children[link].add(mesh);
      }
      stage.add(body); bodies.set(key, body);
    }
    return bodies.get(key);
  }

  // What a mark looks like, at the origin; an arrow points along x.
  function meshOf(kind) {
    const paint = new THREE.MeshBasicMaterial({ color: data.colors.goal, transparent: true, opacity: 0.75 }), group = new THREE.Group();
    const add = (shape, x, y, z, turn) => { const mesh = new THREE.Mesh(shape, paint); mesh.position.set(x, y, z); if (turn) mesh.rotation[turn[0]] = turn[1]; group.add(mesh); };
    if (kind === "disc") { add(new THREE.CylinderGeometry(0.3, 0.3, 0.02, 40), 0, 0, 0.01, ["x", Math.PI / 2]); add(new THREE.CylinderGeometry(0.015, 0.015, 1.2, 8), 0, 0, 0.6, ["x", Math.PI / 2]); }
    else if (kind === "bar") { add(new THREE.BoxGeometry(0.05, 2.4, 0.02), 0, 0, 0.01); for (const y of [-1.2, 1.2]) add(new THREE.BoxGeometry(0.05, 0.05, 0.9), 0, y, 0.45); }
    else { add(new THREE.BoxGeometry(0.5, 0.08, 0.02), 0.85, 0, 0.011); add(new THREE.CylinderGeometry(0, 0.16, 0.3, 3), 1.25, 0, 0.011, ["z", -Math.PI / 2]); group.children[1].scale.z = 0.07; }
    return group;
  }

  // Reads the poses of an episode, and lets the mouse turn the camera on its canvas.
  function attach(view, redraw) {
    const space = view.episode.space, bytes = Uint8Array.from(atob(space.poses), c => c.charCodeAt(0));
    space.poses = new Int16Array(bytes.buffer);
    if (!begin(space)) return;
    const controls = new THREE.OrbitControls(camera, view.canvas);
    controls.target = target; controls.enablePan = false; controls.maxPolarAngle = 1.54; controls.minDistance = 1; controls.maxDistance = 20;
    // The wheel scrolls the page, unless the drawing was clicked.
    controls.enableZoom = false; view.canvas.style.touchAction = "pan-y"; view.canvas.style.cursor = "grab";
    view.canvas.addEventListener("pointerdown", () => { controls.enableZoom = true; });
    view.canvas.addEventListener("pointerleave", () => { controls.enableZoom = false; });
    controls.update(); controls.addEventListener("change", redraw);
  }

  function place(space, frame) {
    const body = bodyOf(space), [x, y, z] = space.path[frame], [metre, unit] = space.scales, size = 7 * body.children.length;
    bodies.forEach(other => { other.visible = other === body; });
    body.position.set(x, y, z);
    body.children.forEach((link, index) => {
      const [px, py, pz, w, qx, qy, qz] = space.poses.subarray(frame * size + 7 * index, frame * size + 7 * index + 7);
      link.position.set(px / metre, py / metre, pz / metre); link.quaternion.set(qx / unit, qy / unit, qz / unit, w / unit).normalize();
    });
    while (marks.children.length) marks.remove(marks.children[0]);
    for (const mark of space.marks) {
      mark.mesh = mark.mesh || meshOf(mark.kind);
      const [mx, my] = mark.places[Math.min(frame, mark.places.length - 1)];
      mark.mesh.position.set(mx, my, 0); mark.mesh.rotation.z = mark.heading; marks.add(mark.mesh);
    }
    stage.position.set(-x, -y, 0); ground.position.set(-(x % 2), -(y % 2), 0);
  }

  function draw(view, frame) {
    const canvas = view.canvas, ratio = window.devicePixelRatio || 1, width = Math.round(canvas.clientWidth * ratio), height = Math.round(width * RATIO);
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    canvas.style.height = canvas.clientWidth * RATIO + "px";
    const c = canvas.getContext("2d"); c.clearRect(0, 0, width, height);
    c.fillStyle = data.colors.text; c.font = 13 * ratio + "px system-ui, sans-serif";
    if (missing) { c.fillText("This drawing needs WebGL, which is off in this browser.", 8 * ratio, 24 * ratio); return; }
    if (renderer.domElement.width !== width || renderer.domElement.height !== height) renderer.setSize(width, height, false);
    place(view.episode.space, frame);
    renderer.render(scene, camera);
    c.drawImage(renderer.domElement, 0, 0);
    c.fillText(view.episode.space.label, 8 * ratio, 18 * ratio);
  }

  return { attach, draw };
})();
