"""What the house says by itself: figures now; alerts, advice and health reports later."""
