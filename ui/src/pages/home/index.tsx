import { Page } from "../../shell/page";

export default function Home() {
  return <Page title="Home">{null}</Page>;
}
