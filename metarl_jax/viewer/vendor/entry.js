// The parts of three.js that robots.js uses, as one global `THREE`. README.md says how to build three.min.js from it.
export {
  AmbientLight, BoxGeometry, CanvasTexture, CapsuleGeometry, CylinderGeometry, DirectionalLight, Fog, Group,
  Mesh, MeshBasicMaterial, MeshLambertMaterial, PCFSoftShadowMap, PerspectiveCamera, PlaneGeometry, RepeatWrapping, Scene,
  ShadowMaterial, SphereGeometry, Vector3, WebGLRenderer,
} from "three";
export { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
