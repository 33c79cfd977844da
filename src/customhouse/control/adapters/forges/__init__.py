"""Forges: what GitHub, GitLab and Gitea tell about reviews and protections, over their REST interfaces."""
